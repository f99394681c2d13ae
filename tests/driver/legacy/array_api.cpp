// Arrays and texture references.
#include "tests/driver/legacy/legacy.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {

CUresult cuArrayCreate(CUarray* pHandle, const CUDA_ARRAY_DESCRIPTOR_v1* old) {
  if (!old) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY_DESCRIPTOR wide{old->Width, old->Height, old->Format, old->NumChannels};
  return api::cuArrayCreate_v2(pHandle, &wide);
}
CUresult cuArray3DCreate(CUarray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR_v1* old) {
  if (!old) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY3D_DESCRIPTOR wide{old->Width, old->Height, old->Depth, old->Format, old->NumChannels, old->Flags};
  return api::cuArray3DCreate_v2(pHandle, &wide);
}

// Extents fit: the largest arrays have 17 bits.
CUresult cuArrayGetDescriptor(CUDA_ARRAY_DESCRIPTOR_v1* out, CUarray hArray) {
  CUDA_ARRAY_DESCRIPTOR wide{};
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = api::cuArrayGetDescriptor_v2(&wide, hArray)) return failed;
  *out = {clamped(wide.Width), clamped(wide.Height), wide.Format, wide.NumChannels};
  return CUDA_SUCCESS;
}
CUresult cuArray3DGetDescriptor(CUDA_ARRAY3D_DESCRIPTOR_v1* out, CUarray hArray) {
  CUDA_ARRAY3D_DESCRIPTOR wide{};
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = api::cuArray3DGetDescriptor_v2(&wide, hArray)) return failed;
  *out = {clamped(wide.Width), clamped(wide.Height), clamped(wide.Depth), wide.Format, wide.NumChannels, wide.Flags};
  return CUDA_SUCCESS;
}

CUresult cuTexRefSetAddress(unsigned* offset, CUtexref r, CUdeviceptr_v1 dptr, unsigned bytes) {
  std::size_t wide = 0;
  if (const CUresult failed = api::cuTexRefSetAddress_v2(offset ? &wide : nullptr, r, dptr, bytes)) return failed;
  return narrow(wide, offset);
}
CUresult cuTexRefSetAddress2D(CUtexref r, const CUDA_ARRAY_DESCRIPTOR_v1* old, CUdeviceptr_v1 dptr, unsigned pitch) {
  if (!old) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY_DESCRIPTOR wide{old->Width, old->Height, old->Format, old->NumChannels};
  return api::cuTexRefSetAddress2D_v3(r, &wide, dptr, pitch);
}
CUresult cuTexRefGetAddress(CUdeviceptr_v1* out, CUtexref r) {
  CUdeviceptr address = 0;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  const CUresult failed = api::cuTexRefGetAddress_v2(&address, r);
  return failed ? failed : narrow(address, out);
}

}  // namespace lull::sim::api

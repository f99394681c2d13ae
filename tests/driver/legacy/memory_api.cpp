// Memory and modules.
#include "tests/driver/graph/graph.h"
#include "tests/driver/legacy/legacy.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

constexpr std::size_t pitch_alignment = 512;  // as cuMemAllocPitch has it

}  // namespace

CUresult cuDeviceTotalMem(unsigned* bytes, CUdevice dev) {
  std::size_t total = 0;
  if (const CUresult failed = api::cuDeviceTotalMem_v2(&total, dev)) return failed;
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *bytes = clamped(total);
  return CUDA_SUCCESS;
}

CUresult cuMemGetInfo(unsigned* free, unsigned* total) {
  std::size_t free_bytes = 0, total_bytes = 0;
  if (const CUresult failed = api::cuMemGetInfo_v2(&free_bytes, &total_bytes)) return failed;
  if (!free || !total) return CUDA_ERROR_INVALID_VALUE;
  *free = clamped(free_bytes);
  *total = clamped(total_bytes);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal(CUdeviceptr_v1* dptr, unsigned* bytes, CUmodule hmod, const char* name) {
  CUdeviceptr address = 0;
  std::size_t size = 0;
  if (const CUresult failed = api::cuModuleGetGlobal_v2(&address, &size, hmod, name)) return failed;
  if (const CUresult failed = narrow(address, dptr)) return failed;
  return narrow(size, bytes);
}

CUresult cuMemAlloc(CUdeviceptr_v1* dptr, unsigned bytesize) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!dptr || bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  const std::uintptr_t base = allocate_low(*context, bytesize);
  return base ? narrow(base, dptr) : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAllocPitch(CUdeviceptr_v1* dptr, unsigned* pPitch, unsigned width, unsigned height, unsigned element) {
  if (!pPitch || width == 0 || height == 0 || (element != 4 && element != 8 && element != 16))
    return CUDA_ERROR_INVALID_VALUE;
  const std::size_t pitch = (width + pitch_alignment - 1) / pitch_alignment * pitch_alignment;
  const std::size_t bytes = pitch * height;
  if (bytes > std::numeric_limits<unsigned>::max()) return CUDA_ERROR_OUT_OF_MEMORY;
  if (const CUresult failed = api::cuMemAlloc(dptr, static_cast<unsigned>(bytes))) return failed;
  *pPitch = static_cast<unsigned>(pitch);
  return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr_v1 dptr) { return api::cuMemFree_v2(dptr); }

CUresult cuMemGetAddressRange(CUdeviceptr_v1* pbase, unsigned* psize, CUdeviceptr_v1 dptr) {
  CUdeviceptr base = 0;
  std::size_t size = 0;
  if (const CUresult failed = api::cuMemGetAddressRange_v2(&base, &size, dptr)) return failed;
  if (const CUresult failed = narrow(base, pbase)) return failed;
  return narrow(size, psize);
}

CUresult cuMemAllocHost(void** pp, unsigned bytesize) { return api::cuMemAllocHost_v2(pp, bytesize); }

CUresult cuMemHostGetDevicePointer(CUdeviceptr_v1* pdptr, void* p, unsigned flags) {
  CUdeviceptr address = 0;
  if (!pdptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult failed = api::cuMemHostGetDevicePointer_v2(&address, p, flags);
  return failed ? failed : narrow(address, pdptr);
}

}  // namespace lull::sim::api

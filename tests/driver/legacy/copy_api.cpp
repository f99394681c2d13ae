// Copies and fills.
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// What both generations of the two structures have, under the same names.
template <class Wide, class Old>
Wide widened_2d(const Old& old) {
  Wide c{};
  c.srcXInBytes = old.srcXInBytes;
  c.srcY = old.srcY;
  c.srcMemoryType = old.srcMemoryType;
  c.srcHost = old.srcHost;
  c.srcDevice = old.srcDevice;
  c.srcArray = old.srcArray;
  c.srcPitch = old.srcPitch;
  c.dstXInBytes = old.dstXInBytes;
  c.dstY = old.dstY;
  c.dstMemoryType = old.dstMemoryType;
  c.dstHost = old.dstHost;
  c.dstDevice = old.dstDevice;
  c.dstArray = old.dstArray;
  c.dstPitch = old.dstPitch;
  c.WidthInBytes = old.WidthInBytes;
  c.Height = old.Height;
  return c;
}

CUDA_MEMCPY2D widened(const CUDA_MEMCPY2D_v1& old) { return widened_2d<CUDA_MEMCPY2D>(old); }

CUDA_MEMCPY3D widened(const CUDA_MEMCPY3D_v1& old) {
  auto c = widened_2d<CUDA_MEMCPY3D>(old);
  c.srcZ = old.srcZ;
  c.srcLOD = old.srcLOD;
  c.reserved0 = old.reserved0;
  c.srcHeight = old.srcHeight;
  c.dstZ = old.dstZ;
  c.dstLOD = old.dstLOD;
  c.reserved1 = old.reserved1;
  c.dstHeight = old.dstHeight;
  c.Depth = old.Depth;
  return c;
}

template <class Old, class Copy>
CUresult widened_copy(const Old* old, Copy&& copy) {
  if (!old) return CUDA_ERROR_INVALID_VALUE;
  const auto wide = widened(*old);
  return copy(&wide);
}

}  // namespace

CUresult cuMemcpyHtoD(CUdeviceptr_v1 d, const void* h, unsigned n) { return api::cuMemcpyHtoD_v2(d, h, n); }
CUresult cuMemcpyDtoH(void* h, CUdeviceptr_v1 d, unsigned n) { return api::cuMemcpyDtoH_v2(h, d, n); }
CUresult cuMemcpyDtoD(CUdeviceptr_v1 d, CUdeviceptr_v1 s, unsigned n) { return api::cuMemcpyDtoD_v2(d, s, n); }
CUresult cuMemcpyDtoA(CUarray a, unsigned o, CUdeviceptr_v1 d, unsigned n) { return api::cuMemcpyDtoA_v2(a, o, d, n); }
CUresult cuMemcpyAtoD(CUdeviceptr_v1 d, CUarray a, unsigned o, unsigned n) { return api::cuMemcpyAtoD_v2(d, a, o, n); }
CUresult cuMemcpyHtoA(CUarray a, unsigned o, const void* h, unsigned n) { return api::cuMemcpyHtoA_v2(a, o, h, n); }
CUresult cuMemcpyAtoH(void* h, CUarray a, unsigned o, unsigned n) { return api::cuMemcpyAtoH_v2(h, a, o, n); }
CUresult cuMemcpyAtoA(CUarray a, unsigned o, CUarray b, unsigned p, unsigned n) {
  return api::cuMemcpyAtoA_v2(a, o, b, p, n);
}
CUresult cuMemcpyHtoAAsync(CUarray a, unsigned o, const void* h, unsigned n, CUstream s) {
  return api::cuMemcpyHtoAAsync_v2(a, o, h, n, s);
}
CUresult cuMemcpyAtoHAsync(void* h, CUarray a, unsigned o, unsigned n, CUstream s) {
  return api::cuMemcpyAtoHAsync_v2(h, a, o, n, s);
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr_v1 d, const void* h, unsigned n, CUstream s) {
  return api::cuMemcpyHtoDAsync_v2(d, h, n, s);
}
CUresult cuMemcpyDtoHAsync(void* h, CUdeviceptr_v1 d, unsigned n, CUstream s) {
  return api::cuMemcpyDtoHAsync_v2(h, d, n, s);
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr_v1 d, CUdeviceptr_v1 f, unsigned n, CUstream s) {
  return api::cuMemcpyDtoDAsync_v2(d, f, n, s);
}

CUresult cuMemcpy2D(const CUDA_MEMCPY2D_v1* c) { return widened_copy(c, api::cuMemcpy2D_v2); }
CUresult cuMemcpy2DUnaligned(const CUDA_MEMCPY2D_v1* c) { return widened_copy(c, api::cuMemcpy2DUnaligned_v2); }
CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D_v1* c, CUstream s) {
  return widened_copy(c, [s](const CUDA_MEMCPY2D* wide) { return api::cuMemcpy2DAsync_v2(wide, s); });
}
CUresult cuMemcpy3D(const CUDA_MEMCPY3D_v1* c) { return widened_copy(c, api::cuMemcpy3D_v2); }
CUresult cuMemcpy3DAsync(const CUDA_MEMCPY3D_v1* c, CUstream s) {
  return widened_copy(c, [s](const CUDA_MEMCPY3D* wide) { return api::cuMemcpy3DAsync_v2(wide, s); });
}

CUresult cuMemsetD8(CUdeviceptr_v1 d, unsigned char v, unsigned n) { return api::cuMemsetD8_v2(d, v, n); }
CUresult cuMemsetD16(CUdeviceptr_v1 d, unsigned short v, unsigned n) { return api::cuMemsetD16_v2(d, v, n); }
CUresult cuMemsetD32(CUdeviceptr_v1 d, unsigned v, unsigned n) { return api::cuMemsetD32_v2(d, v, n); }
CUresult cuMemsetD2D8(CUdeviceptr_v1 d, unsigned p, unsigned char v, unsigned w, unsigned h) {
  return api::cuMemsetD2D8_v2(d, p, v, w, h);
}
CUresult cuMemsetD2D16(CUdeviceptr_v1 d, unsigned p, unsigned short v, unsigned w, unsigned h) {
  return api::cuMemsetD2D16_v2(d, p, v, w, h);
}
CUresult cuMemsetD2D32(CUdeviceptr_v1 d, unsigned p, unsigned v, unsigned w, unsigned h) {
  return api::cuMemsetD2D32_v2(d, p, v, w, h);
}

}  // namespace lull::sim::api

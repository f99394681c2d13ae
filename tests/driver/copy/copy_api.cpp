// The copy functions of the driver. A function without a stream uses the default one.
#include "tests/driver/context/context.h"
#include "tests/driver/copy/copy.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

CUresult copy(CUstream hStream, std::uintptr_t to, std::uintptr_t from, std::size_t bytes, Route route, Wait wait) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  return queue_copy(*stream, {.to = {to}, .from = {from}, .width = bytes}, route, wait);
}

// One side of cuMemcpy2D and 3D; arrays are not supported.
CUresult side_of(CUmemorytype type, const void* host, CUdeviceptr device, std::size_t x, std::size_t y, std::size_t z,
                 std::size_t pitch, std::size_t rows, Side& side) {
  if (type == CU_MEMORYTYPE_ARRAY) return CUDA_ERROR_NOT_SUPPORTED;
  if (type != CU_MEMORYTYPE_HOST && type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_UNIFIED)
    return CUDA_ERROR_INVALID_VALUE;
  const std::uintptr_t base = type == CU_MEMORYTYPE_HOST ? address(host) : device;
  side = {base + z * pitch * rows + y * pitch + x, pitch, pitch * rows};
  return CUDA_SUCCESS;
}

CUresult copy_box(CUstream hStream, const Box& box, Wait wait) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const bool too_narrow = box.height > 1 && (box.to.pitch < box.width || box.from.pitch < box.width);
  if (too_narrow) return CUDA_ERROR_INVALID_VALUE;
  const Route route = route_between(box.to.address, box.from.address);
  return queue_copy(*stream, box, route, route == Route::within_device ? Wait::no : wait);
}

CUresult copy_2d(const CUDA_MEMCPY2D* c, CUstream hStream, Wait wait) {
  if (!c) return CUDA_ERROR_INVALID_VALUE;
  Box box{.to = {}, .from = {}, .width = c->WidthInBytes, .height = c->Height};
  CUresult failed = side_of(c->srcMemoryType, c->srcHost, c->srcDevice, c->srcXInBytes, c->srcY, 0,
                            c->srcPitch ? c->srcPitch : c->WidthInBytes, 1, box.from);
  if (!failed)
    failed = side_of(c->dstMemoryType, c->dstHost, c->dstDevice, c->dstXInBytes, c->dstY, 0,
                     c->dstPitch ? c->dstPitch : c->WidthInBytes, 1, box.to);
  return failed ? failed : copy_box(hStream, box, wait);
}

CUresult copy_3d(const CUDA_MEMCPY3D* c, CUstream hStream, Wait wait) {
  Box box;
  Route route{};
  if (!c) return CUDA_ERROR_INVALID_VALUE;
  const CUresult wrong = box_of(*c, box, route);
  return wrong ? wrong : copy_box(hStream, box, wait);
}

}  // namespace
}  // namespace lull::sim::api

namespace lull::sim {

CUresult box_of(const CUDA_MEMCPY3D& c, Box& box, Route& route) {
  if (c.srcLOD || c.dstLOD) return CUDA_ERROR_INVALID_VALUE;
  box = {.to = {}, .from = {}, .width = c.WidthInBytes, .height = c.Height, .depth = c.Depth};
  CUresult failed =
      api::side_of(c.srcMemoryType, c.srcHost, c.srcDevice, c.srcXInBytes, c.srcY, c.srcZ,
                   c.srcPitch ? c.srcPitch : c.WidthInBytes, c.srcHeight ? c.srcHeight : c.Height, box.from);
  if (!failed)
    failed = api::side_of(c.dstMemoryType, c.dstHost, c.dstDevice, c.dstXInBytes, c.dstY, c.dstZ,
                          c.dstPitch ? c.dstPitch : c.WidthInBytes, c.dstHeight ? c.dstHeight : c.Height, box.to);
  if (failed) return failed;
  route = route_between(box.to.address, box.from.address);
  return CUDA_SUCCESS;
}

}  // namespace lull::sim

namespace lull::sim::api {

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void* src, size_t n) {
  return copy(nullptr, dst, address(src), n, Route::to_device, Wait::yes);
}
CUresult cuMemcpyDtoH_v2(void* dst, CUdeviceptr src, size_t n) {
  return copy(nullptr, address(dst), src, n, Route::to_host, Wait::yes);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t n) {
  return copy(nullptr, dst, src, n, Route::within_device, Wait::no);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void* src, size_t n, CUstream s) {
  return copy(s, dst, address(src), n, Route::to_device, Wait::no);
}
CUresult cuMemcpyDtoHAsync_v2(void* dst, CUdeviceptr src, size_t n, CUstream s) {
  return copy(s, address(dst), src, n, Route::to_host, Wait::no);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream s) {
  return copy(s, dst, src, n, Route::within_device, Wait::no);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t n) {
  const Route route = route_between(dst, src);
  return copy(nullptr, dst, src, n, route, route == Route::within_device ? Wait::no : Wait::yes);
}
CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream s) {
  return copy(s, dst, src, n, route_between(dst, src), Wait::no);
}

CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext, CUdeviceptr src, CUcontext, size_t n) {
  return api::cuMemcpyDtoD_v2(dst, src, n);
}
CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext, CUdeviceptr src, CUcontext, size_t n, CUstream s) {
  return api::cuMemcpyDtoDAsync_v2(dst, src, n, s);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* c) { return copy_2d(c, nullptr, Wait::yes); }
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* c) { return copy_2d(c, nullptr, Wait::yes); }
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* c, CUstream s) { return copy_2d(c, s, Wait::no); }
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* c) { return copy_3d(c, nullptr, Wait::yes); }
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* c, CUstream s) { return copy_3d(c, s, Wait::no); }

}  // namespace lull::sim::api

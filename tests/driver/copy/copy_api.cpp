// Copies of one row: host, device, one-dimensional arrays, contexts. A function without a stream uses the default one.
#include "tests/driver/context/context.h"
#include "tests/driver/copy/peer.h"
#include "tests/driver/copy/plan.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

CUresult copy(CUstream hStream, const Side& to, const Side& from, std::size_t bytes, Route route, Wait wait) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  return queue_copy(*stream, {{.to = to, .from = from, .width = bytes}, route}, wait);
}
CUresult copy(CUstream hStream, std::uintptr_t to, std::uintptr_t from, std::size_t bytes, Route route, Wait wait) {
  return copy(hStream, Side{to}, Side{from}, bytes, route, wait);
}

CUresult copy_to_array(CUstream hStream, CUarray array, std::size_t offset, std::uintptr_t from, std::size_t bytes,
                       Route route, Wait wait) {
  Side to;
  const CUresult failed = plan_array_row(array, offset, bytes, to);
  return failed ? failed : copy(hStream, to, Side{from}, bytes, route, wait);
}
CUresult copy_from_array(CUstream hStream, std::uintptr_t to, CUarray array, std::size_t offset, std::size_t bytes,
                         Route route, Wait wait) {
  Side from;
  const CUresult failed = plan_array_row(array, offset, bytes, from);
  return failed ? failed : copy(hStream, Side{to}, from, bytes, route, wait);
}

}  // namespace

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void* src, size_t n) {
  return copy(nullptr, dst, address(src), n, Route::to_device, Wait::yes);
}
CUresult cuMemcpyDtoH_v2(void* dst, CUdeviceptr src, size_t n) {
  return copy(nullptr, address(dst), src, n, Route::to_host, Wait::yes);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t n) {
  return copy(nullptr, dst, src, n, Route::within_device, Wait::yes);
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
  return copy(nullptr, dst, src, n, route_between(dst, src), Wait::yes);
}
CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream s) {
  return copy(s, dst, src, n, route_between(dst, src), Wait::no);
}

CUresult cuMemcpyDtoA_v2(CUarray dst, size_t offset, CUdeviceptr src, size_t n) {
  return copy_to_array(nullptr, dst, offset, src, n, Route::within_device, Wait::yes);
}
CUresult cuMemcpyHtoA_v2(CUarray dst, size_t offset, const void* src, size_t n) {
  return copy_to_array(nullptr, dst, offset, address(src), n, Route::to_device, Wait::yes);
}
CUresult cuMemcpyHtoAAsync_v2(CUarray dst, size_t offset, const void* src, size_t n, CUstream s) {
  return copy_to_array(s, dst, offset, address(src), n, Route::to_device, Wait::no);
}
CUresult cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t offset, size_t n) {
  return copy_from_array(nullptr, dst, src, offset, n, Route::within_device, Wait::yes);
}
CUresult cuMemcpyAtoH_v2(void* dst, CUarray src, size_t offset, size_t n) {
  return copy_from_array(nullptr, address(dst), src, offset, n, Route::to_host, Wait::yes);
}
CUresult cuMemcpyAtoHAsync_v2(void* dst, CUarray src, size_t offset, size_t n, CUstream s) {
  return copy_from_array(s, address(dst), src, offset, n, Route::to_host, Wait::no);
}
CUresult cuMemcpyAtoA_v2(CUarray dst, size_t dstOffset, CUarray src, size_t srcOffset, size_t n) {
  Side to, from;
  if (const CUresult failed = plan_array_row(dst, dstOffset, n, to)) return failed;
  if (const CUresult failed = plan_array_row(src, srcOffset, n, from)) return failed;
  return copy(nullptr, to, from, n, Route::within_device, Wait::yes);
}

CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext dstContext, CUdeviceptr src, CUcontext srcContext, size_t n) {
  return between_contexts(dstContext, srcContext, [&] { return api::cuMemcpyDtoD_v2(dst, src, n); });
}
CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dstContext, CUdeviceptr src, CUcontext srcContext, size_t n,
                           CUstream s) {
  if (const CUresult failed = check_peers(dstContext, srcContext)) return failed;
  return api::cuMemcpyDtoDAsync_v2(dst, src, n, s);
}

}  // namespace lull::sim::api

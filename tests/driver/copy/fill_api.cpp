// Memsets.
#include "tests/driver/context/context.h"
#include "tests/driver/copy/copy.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult fill(CUstream hStream, const Fill& what, Wait wait = Wait::no) {
  const FoundStream stream = find_stream(hStream);
  return stream ? queue_fill(*stream, what, wait) : stream.error;
}
CUresult fill_default(const Fill& what) {
  const CUresult failed = fill(nullptr, what, Wait::yes);
  if (failed || !sync_memops(what.to.address)) return failed;
  const FoundStream stream = find_stream(nullptr);
  return stream ? synchronize(*stream) : stream.error;
}

Fill row(CUdeviceptr dst, std::uint32_t value, unsigned element, std::size_t n) {
  return {{dst}, value, element, n, 1};
}
Fill rows(CUdeviceptr dst, std::size_t pitch, std::uint32_t value, unsigned element, std::size_t width,
          std::size_t height) {
  return {{dst, pitch}, value, element, width, height};
}

}  // namespace

CUresult cuMemsetD8_v2(CUdeviceptr d, unsigned char v, size_t n) { return fill_default(row(d, v, 1, n)); }
CUresult cuMemsetD16_v2(CUdeviceptr d, unsigned short v, size_t n) { return fill_default(row(d, v, 2, n)); }
CUresult cuMemsetD32_v2(CUdeviceptr d, unsigned v, size_t n) { return fill_default(row(d, v, 4, n)); }
CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream s) { return fill(s, row(d, v, 1, n)); }
CUresult cuMemsetD16Async(CUdeviceptr d, unsigned short v, size_t n, CUstream s) { return fill(s, row(d, v, 2, n)); }
CUresult cuMemsetD32Async(CUdeviceptr d, unsigned v, size_t n, CUstream s) { return fill(s, row(d, v, 4, n)); }
CUresult cuMemsetD2D8_v2(CUdeviceptr d, size_t p, unsigned char v, size_t w, size_t h) {
  return fill_default(rows(d, p, v, 1, w, h));
}
CUresult cuMemsetD2D16_v2(CUdeviceptr d, size_t p, unsigned short v, size_t w, size_t h) {
  return fill_default(rows(d, p, v, 2, w, h));
}
CUresult cuMemsetD2D32_v2(CUdeviceptr d, size_t p, unsigned v, size_t w, size_t h) {
  return fill_default(rows(d, p, v, 4, w, h));
}
CUresult cuMemsetD2D8Async(CUdeviceptr d, size_t p, unsigned char v, size_t w, size_t h, CUstream s) {
  return fill(s, rows(d, p, v, 1, w, h));
}
CUresult cuMemsetD2D16Async(CUdeviceptr d, size_t p, unsigned short v, size_t w, size_t h, CUstream s) {
  return fill(s, rows(d, p, v, 2, w, h));
}
CUresult cuMemsetD2D32Async(CUdeviceptr d, size_t p, unsigned v, size_t w, size_t h, CUstream s) {
  return fill(s, rows(d, p, v, 4, w, h));
}

}  // namespace lull::sim::api

// Memsets and the memory operations of streams.
#include <atomic>

#include "tests/driver/context/context.h"
#include "tests/driver/copy/copy.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult fill(CUstream hStream, const Fill& what) {
  const FoundStream stream = find_stream(hStream);
  return stream ? queue_fill(*stream, what) : stream.error;
}

// The functions without a stream are still asynchronous for device memory, but not allowed beside a capture.
CUresult fill_default(const Fill& what) {
  if (const CUresult refused = unsafe_during_capture()) return refused;
  return fill(nullptr, what);
}

Fill row(CUdeviceptr dst, std::uint32_t value, unsigned element, std::size_t n) {
  return {{dst}, value, element, n, 1};
}
Fill rows(CUdeviceptr dst, std::size_t pitch, std::uint32_t value, unsigned element, std::size_t width,
          std::size_t height) {
  return {{dst, pitch}, value, element, width, height};
}

template <class T>
bool reached(T now, T value, unsigned flags) {
  switch (flags & 3u) {
    case CU_STREAM_WAIT_VALUE_GEQ: return static_cast<std::make_signed_t<T>>(now - value) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ: return now == value;
    case CU_STREAM_WAIT_VALUE_AND: return (now & value) != 0;
    default: return (~(now | value)) != 0;  // NOR
  }
}

// The word must be mapped device memory or page-locked host memory, when asked for and when its turn comes.
template <class T>
bool word_there(CUdeviceptr at) {
  const Touch touch = classify(at, sizeof(T), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  return touch == Touch::device || touch == Touch::known_host;
}

template <class T>
CUresult write_value(CUstream hStream, CUdeviceptr at, T value, unsigned flags) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (at % sizeof(T) || (flags & ~1u) || classify(at, sizeof(T), CU_MEM_ACCESS_FLAGS_PROT_NONE) == Touch::unknown)
    return CUDA_ERROR_INVALID_VALUE;
  return submit(*stream, CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, [at, value](Running& running) {
    running.end_ns = running.ready_ns;
    const bool written = word_there<T>(at) && run_touching_memory([&] {
                           std::atomic_ref(*reinterpret_cast<T*>(at))
                               .store(value, std::memory_order_release);  // read by whoever polls the word
                         });
    return written ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
  });
}

template <class T>
CUresult wait_value(CUstream hStream, CUdeviceptr at, T value, unsigned flags) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  constexpr unsigned known = 3u | CU_STREAM_WAIT_VALUE_FLUSH;
  if (at % sizeof(T) || (flags & ~known) || classify(at, sizeof(T), CU_MEM_ACCESS_FLAGS_PROT_NONE) == Touch::unknown)
    return CUDA_ERROR_INVALID_VALUE;
  return submit(*stream, CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, [at, value, flags](Running& running) {
    T now = 0;
    while (!running.life.stop) {
      const bool read = word_there<T>(at) && run_touching_memory([&] {
                          now = std::atomic_ref(*reinterpret_cast<T*>(at)).load(std::memory_order_acquire);
                        });
      if (!read) return CUDA_ERROR_ILLEGAL_ADDRESS;
      if (reached(now, value, flags)) break;
      sleep_until(now_ns() + 100'000, running.life);
    }
    return CUDA_SUCCESS;
  });
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

CUresult cuStreamWriteValue32_v2(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return write_value<std::uint32_t>(s, a, v, f);
}
CUresult cuStreamWriteValue64_v2(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return write_value<std::uint64_t>(s, a, v, f);
}
CUresult cuStreamWaitValue32_v2(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return wait_value<std::uint32_t>(s, a, v, f);
}
CUresult cuStreamWaitValue64_v2(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return wait_value<std::uint64_t>(s, a, v, f);
}

}  // namespace lull::sim::api

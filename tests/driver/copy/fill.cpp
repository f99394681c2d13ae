#include <algorithm>

#include "tests/driver/copy/engine_time.h"
#include "tests/driver/copy/reach.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/managed/managed.h"
#include "tests/driver/memory/guard.h"

namespace lull::sim {
namespace {

template <class T>
void fill_rows(const Fill& fill) {
  for (std::size_t y = 0; y < fill.height; ++y) {
    std::fill_n(reinterpret_cast<T*>(fill.to.address + y * fill.to.pitch), fill.width, static_cast<T>(fill.value));
  }
}

CUresult perform(const Fill& fill, Running& running) {
  const std::size_t row_bytes = fill.width * fill.element_bytes;
  const bool there = !faults(classify_side(fill.to, row_bytes, fill.height, 1, writing)) && run_touching_memory([&] {
    if (fill.element_bytes == 1)
      fill_rows<std::uint8_t>(fill);
    else if (fill.element_bytes == 2)
      fill_rows<std::uint16_t>(fill);
    else
      fill_rows<std::uint32_t>(fill);
  });
  const CUresult result = there ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
  if (there) managed_touched(running.device, fill.to.address, row_bytes);
  const Span span = fill_span(running, row_bytes * fill.height);
  running.end_ns = span.end_ns;
  note(running, Kind::memset, span, fill.to.address, row_bytes * fill.height, result);
  return result;
}

bool host_sees_at_once(std::uintptr_t address) {
  return classify(address, 1, reading) == Touch::known_host || is_managed(address, 1);
}

// Everything a fill spans is an address, and a size.
bool too_large(const Fill& fill) {
  std::size_t row = 0, all = 0;
  return __builtin_mul_overflow(fill.width, std::size_t{fill.element_bytes}, &row) ||
         __builtin_mul_overflow(fill.height > 1 ? fill.to.pitch : row, fill.height, &all) ||
         __builtin_add_overflow(fill.to.address, all, &all) || __builtin_add_overflow(all, row, &all);
}

}  // namespace

CUresult check_fill(const Fill& fill) {
  if (too_large(fill)) return CUDA_ERROR_INVALID_VALUE;
  const std::size_t row_bytes = fill.width * fill.element_bytes;
  if (fill.to.address % fill.element_bytes || fill.to.pitch % fill.element_bytes) return CUDA_ERROR_INVALID_VALUE;
  if (fill.height > 1 && fill.to.pitch < row_bytes) return CUDA_ERROR_INVALID_VALUE;
  if (row_bytes == 0 || fill.height == 0) return CUDA_SUCCESS;
  return refused_and_told(fill.to, row_bytes, fill.height, 1, writing) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult FillOperation::run(Running& running) const { return perform(fill_, running); }

CUresult queue_fill(Stream& stream, const Fill& fill, Wait wait) {
  if (wait == Wait::yes) {
    if (const CUresult refused = unsafe_during_capture()) return refused;
  }
  if (const CUresult refused = check_fill(fill)) return refused;
  if (fill.width == 0 || fill.height == 0) return CUDA_SUCCESS;
  const bool captures = capture_of(stream) != nullptr;
  Ticket placed;
  const CUresult failed = submit(stream, std::make_shared<FillOperation>(fill), {}, &placed);
  if (failed || captures || wait == Wait::no || !host_sees_at_once(fill.to.address)) return failed;
  stream.wait_until(placed.number);
  return stream.life().sticky();
}

}  // namespace lull::sim

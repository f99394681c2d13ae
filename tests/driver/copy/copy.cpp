#include "tests/driver/copy/copy.h"

#include <algorithm>
#include <cstring>

#include "tests/driver/context/context.h"
#include "tests/driver/copy/engine_time.h"
#include "tests/driver/faults/faults.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/memory/memory.h"

namespace lull::sim {
namespace {

constexpr auto reading = CU_MEM_ACCESS_FLAGS_PROT_READ;
constexpr auto writing = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;

bool from_device(Route route) { return route == Route::to_host || route == Route::within_device; }
bool to_device(Route route) { return route == Route::to_device || route == Route::within_device; }

Touch classify_side(const Side& side, std::size_t width, std::size_t height, std::size_t depth,
                    CUmemAccess_flags needed) {
  const std::size_t last = (depth - 1) * side.slice + (height - 1) * side.pitch + width;
  return classify(side.address, last, needed);
}

// Known at the call: an address no device knows, or more bytes than were allocated there.
bool refused_at_call(Touch touch) { return touch == Touch::unknown || touch == Touch::overrun || touch == Touch::idle; }
// Known when the engine gets there: nothing is mapped.
bool faults(Touch touch) { return touch == Touch::illegal || touch == Touch::overrun || touch == Touch::unknown; }

bool sides_fault(const Box& box, Route route) {
  return (from_device(route) && faults(classify_side(box.from, box.width, box.height, box.depth, reading))) ||
         (to_device(route) && faults(classify_side(box.to, box.width, box.height, box.depth, writing)));
}

void move_bytes(const Box& box) {
  for (std::size_t z = 0; z < box.depth; ++z) {
    for (std::size_t y = 0; y < box.height; ++y) {
      std::memmove(reinterpret_cast<void*>(box.to.address + z * box.to.slice + y * box.to.pitch),
                   reinterpret_cast<const void*>(box.from.address + z * box.from.slice + y * box.from.pitch),
                   box.width);
    }
  }
}

Kind kind_of(Route route) {
  if (route == Route::to_device) return Kind::copy_h2d;
  return route == Route::to_host ? Kind::copy_d2h : Kind::copy_d2d;
}

void note(const Running& running, Kind kind, Span span, std::uintptr_t address, std::size_t bytes, CUresult result) {
  journal_write({.start_ns = span.start_ns,
                 .end_ns = span.end_ns,
                 .pid = 0,
                 .tid = 0,
                 .kind = kind,
                 .function = 0xffff,
                 .result = result,
                 .address = address,
                 .bytes = bytes,
                 .written_ns = 0,
                 .device = static_cast<std::uint32_t>(running.device.ordinal),
                 .stream = running.stream_number});
}

bool pageable(const Box& box, Route route) {
  return (!from_device(route) && classify(box.from.address, box.width, reading) == Touch::unknown) ||
         (!to_device(route) && classify(box.to.address, box.width, writing) == Touch::unknown);
}

CUresult perform(const Box& box, Route route, Running& running) {
  const EngineTime engine(running, route, box.bytes(), pageable(box, route));
  const bool wrong = fault_at_copy(kind_of(route));
  const bool whole = !sides_fault(box, route) && run_touching_memory([&] {
    move_bytes(box);
    if (wrong) *reinterpret_cast<std::uint8_t*>(box.to.address + box.width / 2) ^= 0x01;
  });
  const CUresult result = whole ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
  const Span span = engine.wait();
  running.end_ns = span.end_ns;
  if (route != Route::within_host)
    note(running, kind_of(route), span, to_device(route) ? box.to.address : box.from.address, box.bytes(), result);
  return result;
}

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
  const Span span = fill_span(running, row_bytes * fill.height);
  running.end_ns = span.end_ns;
  note(running, Kind::memset, span, fill.to.address, row_bytes * fill.height, result);
  return result;
}

}  // namespace

Route route_between(std::uintptr_t to, std::uintptr_t from) {
  const auto on_device = [](std::uintptr_t address) {
    const Touch touch = classify(address, 1, reading);
    return touch == Touch::device || touch == Touch::illegal || touch == Touch::overrun || touch == Touch::idle;
  };
  if (on_device(to)) return on_device(from) ? Route::within_device : Route::to_device;
  return on_device(from) ? Route::to_host : Route::within_host;
}

CUresult CopyOperation::run(Running& running) const { return perform(box_, route_, running); }
CUresult FillOperation::run(Running& running) const { return perform(fill_, running); }

CUresult check_copy(const Box& box, Route route) {
  if (!box.to.address || !box.from.address) return CUDA_ERROR_INVALID_VALUE;
  if (from_device(route) && refused_at_call(classify_side(box.from, box.width, box.height, box.depth, reading)))
    return CUDA_ERROR_INVALID_VALUE;
  if (to_device(route) && refused_at_call(classify_side(box.to, box.width, box.height, box.depth, writing)))
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

CUresult queue_copy(Stream& stream, const Box& box, Route route, Wait wait) {
  if (wait == Wait::yes) {
    if (const CUresult refused = unsafe_during_capture()) return refused;
  }
  if (box.bytes() == 0) return CUDA_SUCCESS;
  if (const CUresult wrong = check_copy(box, route)) return wrong;
  const bool captures = capture_of(stream) != nullptr;
  const CUresult failed = submit(stream, std::make_shared<CopyOperation>(box, route));
  if (failed || captures || (wait == Wait::no && !pageable(box, route))) return failed;
  stream.wait_until(stream.submitted());
  return stream.life().sticky();
}

CUresult check_fill(const Fill& fill) {
  const std::size_t row_bytes = fill.width * fill.element_bytes;
  if (fill.to.address % fill.element_bytes || fill.to.pitch % fill.element_bytes) return CUDA_ERROR_INVALID_VALUE;
  if (fill.height > 1 && fill.to.pitch < row_bytes) return CUDA_ERROR_INVALID_VALUE;
  const Touch touch = classify_side(fill.to, row_bytes, fill.height, 1, writing);
  return refused_at_call(touch) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult queue_fill(Stream& stream, const Fill& fill) {
  if (fill.width == 0 || fill.height == 0) return CUDA_SUCCESS;
  if (const CUresult wrong = check_fill(fill)) return wrong;
  return submit(stream, std::make_shared<FillOperation>(fill));
}

}  // namespace lull::sim

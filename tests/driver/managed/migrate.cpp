#include "tests/driver/managed/migrate.h"

#include <cstring>

#include "tests/driver/copy/engine_time.h"
#include "tests/driver/copy/reach.h"
#include "tests/driver/memory/memory.h"

namespace lull::sim {
namespace {

void take_engine(Running& running, Route route, std::uintptr_t address, std::size_t bytes) {
  if (bytes == 0) return;
  const Span span = EngineTime(running, route, bytes, false).wait();
  running.end_ns = std::max(running.end_ns, span.end_ns);
  note(running, route == Route::to_device ? Kind::copy_h2d : Kind::copy_d2h, span, address, bytes, CUDA_SUCCESS);
}

}  // namespace

void migrate(Running& running, const ManagedRange& range, Place to) {
  Moved moved;
  {
    const std::scoped_lock lock(managed().mutex);
    moved = move_blocks(managed().blocks_of(range.address, range.bytes), to);
  }
  // What makes room leaves first.
  take_engine(running, Route::to_host, range.address, moved.to_host);
  take_engine(running, Route::to_device, range.address, moved.to_device);
}

void discard(const ManagedRange& range) {
  const std::uintptr_t first = (range.address + managed_block_bytes - 1) / managed_block_bytes * managed_block_bytes;
  const std::uintptr_t end = range.address + range.bytes;
  const std::scoped_lock lock(managed().mutex);
  const auto allocation = Space::containing(managed().allocations, range.address);
  if (allocation == managed().allocations.end()) return;
  // The last block of an allocation may be short: its end is as good as a block's.
  const bool to_the_end = end == allocation->first + allocation->second.bytes;
  const std::uintptr_t last = to_the_end ? end : end / managed_block_bytes * managed_block_bytes;
  if (last > first) (void)move_blocks(managed().blocks_of(first, last - first), nowhere);
}

void managed_touched_by(Running& running, const std::byte* parameters, std::size_t bytes) {
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, parameters + at, sizeof word);
    if (!is_managed(word, 1)) continue;
    ManagedRange whole{};
    {
      const std::scoped_lock lock(managed().mutex);
      const auto found = Space::containing(managed().allocations, word);
      if (found != managed().allocations.end()) whole = {found->first, found->second.bytes};
    }
    migrate(running, whole, running.device.ordinal);
  }
}

}  // namespace lull::sim

#include "tests/driver/managed/managed.h"

#include <sys/mman.h>

#include <atomic>
#include <cstring>

#include "tests/driver/managed/blocks.h"
#include "tests/driver/memory/memory.h"

namespace lull::sim {
namespace {

constexpr std::size_t most_bytes = std::size_t{256} << 30;  // of one allocation: its blocks cost host memory, too

// Most processes have none: they are asked often whether an address is.
std::atomic<bool> any_managed{false};

std::size_t whole_blocks(std::size_t bytes) {
  return (bytes + managed_block_bytes - 1) / managed_block_bytes * managed_block_bytes;
}

void leave(Block& block, Place to) {
  if (block.where >= 0) device_of(block.where)->card->refund(managed_block_bytes);
  block.where = to;
}

std::size_t blocks_on(Place place) {
  std::size_t count = 0;
  for (const auto& [base, allocation] : managed().allocations)
    count += static_cast<std::size_t>(
        std::ranges::count_if(allocation.blocks, [place](const Block& b) { return b.where == place; }));
  return count;
}

// Others' blocks leave a card for these; one's own stay.
std::size_t evict(Place from, std::size_t wanted, std::span<const Block> but) {
  std::size_t gone = 0;
  for (auto& [base, allocation] : managed().allocations) {
    for (Block& block : allocation.blocks) {
      if (gone == wanted) return gone;
      const bool own = !but.empty() && &block >= but.data() && &block < but.data() + but.size();
      if (block.where != from || own) continue;
      leave(block, on_host);
      ++gone;
    }
  }
  return gone;
}

// Charges as many blocks as there is room for, all at once: a charge is a lock that all processes share.
std::size_t charge_blocks(Device& device, std::size_t wanted, std::span<const Block> own, std::size_t& evicted) {
  std::size_t room = wanted;
  if (!device.card->charge(room * managed_block_bytes)) {
    const std::size_t free = device.card->memory().free / managed_block_bytes;
    evicted = free < wanted ? evict(device.ordinal, wanted - free, own) : 0;
    room = std::min(wanted, free + evicted);
    while (room && !device.card->charge(room * managed_block_bytes)) room /= 2;  // another process was quicker
  }
  return room;
}

}  // namespace

Managed& managed() {
  static auto& one = *new Managed;
  return one;
}

std::span<Block> Managed::blocks_of(std::uintptr_t address, std::size_t bytes) {
  const auto found = Space::containing(allocations, address);
  if (found == allocations.end() || bytes == 0 || bytes > found->second.bytes - (address - found->first)) return {};
  const std::size_t first = (address - found->first) / managed_block_bytes;
  const std::size_t last = (address - found->first + bytes - 1) / managed_block_bytes;
  return std::span(found->second.blocks).subspan(first, last - first + 1);
}

Moved move_blocks(std::span<Block> blocks, Place to) {
  Moved moved;
  std::size_t room = 0, evicted = 0;
  Device* const device = to >= 0 ? device_of(to) : nullptr;
  if (device) {
    const auto absent = std::ranges::count_if(blocks, [to](const Block& b) { return b.where != to; });
    room = absent ? charge_blocks(*device, static_cast<std::size_t>(absent), blocks, evicted) : 0;
  }
  for (Block& block : blocks) {
    if (block.where == to) continue;
    if (block.read_mostly && block.where >= 0 && to == on_host) {  // one more copy, there; this one stays
      moved.to_host += managed_block_bytes;
      continue;
    }
    const bool fits = device && room;
    if (fits) --room;
    const Place goal = fits || !device ? to : on_host;
    const bool held_data = block.where != nowhere && goal != nowhere;
    if (held_data && goal >= 0) moved.to_device += managed_block_bytes;
    if (held_data && goal < 0 && block.where >= 0) moved.to_host += managed_block_bytes;
    leave(block, goal);
  }
  moved.to_host += evicted * managed_block_bytes;
  return moved;
}

std::uintptr_t allocate_managed(Context& context, std::size_t bytes, unsigned attach) {
  if (bytes > most_bytes) return 0;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  if (!context.active()) return 0;
  const std::uintptr_t base = all.reserve(whole_blocks(bytes), granule_bytes, 0, Holds::allocations);
  if (!base) return 0;
  if (::mprotect(reinterpret_cast<void*>(base), whole_blocks(bytes), PROT_READ | PROT_WRITE) != 0) {
    all.unreserve(base);
    return 0;
  }
  all.allocations[base] = {.bytes = bytes,
                           .kind = AllocationKind::managed,
                           .context = &context,
                           .device = &context.device(),
                           .slab = 0,
                           .id = next_allocation_id()};
  const std::scoped_lock lock_blocks(managed().mutex);
  managed().allocations[base] = {bytes, attach, std::vector<Block>(whole_blocks(bytes) / managed_block_bytes)};
  any_managed = true;
  return base;
}

bool is_managed(std::uintptr_t address, std::size_t bytes) {
  if (!any_managed) return false;
  const std::scoped_lock lock(managed().mutex);
  return !managed().blocks_of(address, bytes).empty();
}

void managed_touched(Device& device, std::uintptr_t address, std::size_t bytes) {
  if (!any_managed) return;
  const std::scoped_lock lock(managed().mutex);
  (void)move_blocks(managed().blocks_of(address, bytes), device.ordinal);
}

bool managed_gives_way(Device& device, std::size_t bytes) {
  if (!any_managed) return false;
  const std::scoped_lock lock(managed().mutex);
  const std::size_t free = device.card->memory().free, here = blocks_on(device.ordinal) * managed_block_bytes;
  if (free >= bytes || free + here < bytes) return false;
  return evict(device.ordinal, whole_blocks(bytes - free) / managed_block_bytes, {}) != 0;
}

void forget_managed(std::uintptr_t base) {
  const std::scoped_lock lock(managed().mutex);
  const auto found = managed().allocations.find(base);
  if (found == managed().allocations.end()) return;
  for (Block& block : found->second.blocks) leave(block, nowhere);
  managed().allocations.erase(found);
}

}  // namespace lull::sim

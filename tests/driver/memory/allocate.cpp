// cuMemAlloc and its like: physical memory with an address. Up to 1 MiB it comes out of slabs of one granule, as the
// driver packs small allocations; above that it has granules of its own.
#include <sys/mman.h>

#include <algorithm>
#include <map>

#include "tests/driver/managed/managed.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/pool.h"
#include "tests/driver/memory/report.h"

namespace lull::sim {
namespace {

constexpr std::size_t small_bytes = 1u << 20;
constexpr std::size_t cuda_alignment = 512;

struct Slab {
  Device* device;
  Context* owner;
  AllocationKind kind;
  std::map<std::size_t, std::size_t> free;  // offset -> bytes
};

// Guarded by Space::mutex.
std::map<std::uintptr_t, Slab>& slabs() {
  static auto& all = *new std::map<std::uintptr_t, Slab>;
  return all;
}

std::uintptr_t own_memory(Device& device, std::size_t bytes) {
  return space().reserve_with_memory(device, (bytes + granule_bytes - 1) / granule_bytes * granule_bytes,
                                     Holds::allocations);
}

std::uintptr_t cut(Slab& slab, std::size_t bytes) {
  const auto hole = std::ranges::find_if(slab.free, [&](const auto& h) { return h.second >= bytes; });
  if (hole == slab.free.end()) return UINTPTR_MAX;
  const auto [offset, size] = *hole;
  slab.free.erase(hole);
  if (size > bytes) slab.free[offset + bytes] = size - bytes;
  return offset;
}

void put_back(Slab& slab, std::size_t offset, std::size_t bytes) {
  auto after = slab.free.lower_bound(offset);
  if (after != slab.free.end() && after->first == offset + bytes) {
    bytes += after->second;
    after = slab.free.erase(after);
  }
  if (after != slab.free.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  slab.free[offset] = bytes;
}

struct SmallPlace {
  std::uintptr_t base = 0;
  std::uintptr_t slab = 0;
};

SmallPlace small_memory(Context& context, std::size_t bytes, AllocationKind kind) {
  for (auto& [base, slab] : slabs()) {
    if (slab.device != &context.device() || slab.owner != &context || slab.kind != kind) continue;
    if (const auto offset = cut(slab, bytes); offset != UINTPTR_MAX) return {base + offset, base};
  }
  const std::uintptr_t base = own_memory(context.device(), granule_bytes);
  if (!base) return {};
  slabs()[base] = {&context.device(), &context, kind, {{bytes, granule_bytes - bytes}}};
  return {base, base};
}

void drop_reservation(std::uintptr_t base) {
  space().unmap(base);
  space().unreserve(base);
}

std::size_t rounded(std::size_t bytes) { return (bytes + cuda_alignment - 1) / cuda_alignment * cuda_alignment; }

// Locked.
void release_entry(std::map<std::uintptr_t, Allocation>::iterator entry) {
  const std::uintptr_t base = entry->first;
  const Allocation allocation = entry->second;
  note_freed(base, allocation.bytes);
  space().allocations.erase(entry);
  if (allocation.pool) return allocation.pool->put_back(base, allocation.bytes, {});
  if (allocation.kind == AllocationKind::managed) {
    forget_managed(base);
    return space().unreserve(base);
  }
  if (!allocation.slab) return drop_reservation(base);
  if (allocation.kind == AllocationKind::ipc || allocation.kind == AllocationKind::pool_import)
    return drop_reservation(allocation.slab);
  Slab& slab = slabs().at(allocation.slab);
  put_back(slab, base - allocation.slab, rounded(allocation.bytes));
  if (slab.free.begin()->second != granule_bytes) return;
  slabs().erase(allocation.slab);
  drop_reservation(allocation.slab);
}

}  // namespace

std::uint64_t next_allocation_id() {
  static std::uint64_t last = 0;
  return ++last;
}

std::uintptr_t allocate(Context& context, std::size_t bytes, AllocationKind kind) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  // What goes with a context has gone, or is about to: nothing may be added to it by a thread that comes too late.
  if (bytes > SIZE_MAX / 2 || !context.active()) return 0;
  const SmallPlace place = rounded(bytes) <= small_bytes ? small_memory(context, rounded(bytes), kind)
                                                         : SmallPlace{own_memory(context.device(), bytes), 0};
  if (place.base)
    all.allocations[place.base] = {bytes, kind, &context, &context.device(), place.slab, next_allocation_id()};
  return place.base;
}

// Locked.
static bool release_locked(std::uintptr_t base) {
  Space& all = space();
  const auto found = all.allocations.find(base);
  const bool other_way = found != all.allocations.end() &&
                         (found->second.kind == AllocationKind::graph || found->second.kind == AllocationKind::ipc);
  if (found == all.allocations.end() || other_way) return false;
  release_entry(found);
  return true;
}

bool release(std::uintptr_t base) {
  const std::scoped_lock lock(space().mutex);
  return release_locked(base);
}

void release(std::uintptr_t base, const Life& life) {
  const std::scoped_lock lock(space().mutex);
  if (!life.stop) (void)release_locked(base);
}

bool close_ipc(std::uintptr_t base) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.allocations.find(base);
  if (found == all.allocations.end() || found->second.kind != AllocationKind::ipc) return false;
  release_entry(found);
  return true;
}

bool charge_native(Device& device, std::size_t bytes) {
  if (device.card->charge(bytes)) return true;
  const std::scoped_lock lock(space().mutex);
  give_back_idle(device);
  return device.card->charge(bytes) || (managed_gives_way(device, bytes) && device.card->charge(bytes));
}

void free_memory_of(Context& context) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  for (auto it = all.allocations.begin(); it != all.allocations.end();) {
    const auto entry = it++;
    if (entry->second.context == &context) release_entry(entry);
  }
  std::erase_if(all.host, [&](const auto& range) {
    if (range.second.context != &context) return false;
    if (range.second.kind == HostKind::allocated)
      (void)::munmap(reinterpret_cast<void*>(range.first), whole_pages(range.second.bytes));
    return true;
  });
}

}  // namespace lull::sim

#include "tests/driver/memory/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "tests/driver/card/settings.h"
#include "tests/driver/managed/managed.h"
#include "tests/driver/memory/pool.h"

namespace lull::sim {
namespace {

constexpr int no_memory = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

constexpr std::size_t most_gone = 256;  // ranges: the host allows a process some 65000 mappings

void* at(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

int protection(CUmemAccess_flags access) {
  if (access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE) return PROT_READ | PROT_WRITE;
  return access == CU_MEM_ACCESS_FLAGS_PROT_READ ? PROT_READ : PROT_NONE;
}

std::uintptr_t aligned(void* raw, std::size_t bytes, std::size_t alignment) {
  const auto start = reinterpret_cast<std::uintptr_t>(raw);
  const std::uintptr_t base = (start + alignment - 1) / alignment * alignment;
  if (base > start) (void)::munmap(raw, base - start);
  const std::uintptr_t end = start + bytes + alignment;
  if (end > base + bytes) (void)::munmap(at(base + bytes), end - base - bytes);
  return base;
}

}  // namespace

Space& space() {
  static auto& one = *new Space;
  return one;
}

std::shared_ptr<Physical> Physical::take(Device& device, std::size_t bytes) {
  auto physical = std::make_shared<Physical>(device, bytes);
  if (!device.card->take(bytes, physical->extents)) {
    give_back_idle(device);
    if (!device.card->take(bytes, physical->extents) &&
        !(managed_gives_way(device, bytes) && device.card->take(bytes, physical->extents)))
      return nullptr;
  }
  physical->id = next_allocation_id();
  if (settings().poison) {
    for (const Extent& e : physical->extents) std::memset(device.card->granule(e.first), 0xCB, e.count * granule_bytes);
  }
  return physical;
}

Physical::~Physical() {
  if (share)
    device.card->drop(*share);
  else if (!extents.empty())
    device.card->give(extents);
}

std::uintptr_t Space::reserve(std::size_t bytes, std::size_t alignment, std::uintptr_t hint, Holds holds) {
  constexpr std::size_t most = std::size_t{1} << 47;  // of user space
  if (bytes > most || alignment > most) return 0;
  if (hint && hint % alignment == 0 && bytes <= UINTPTR_MAX - hint) {
    let_go(hint, bytes);
    void* there = ::mmap(at(hint), bytes, PROT_NONE, no_memory, -1, 0);
    if (there == at(hint)) {
      reservations[hint] = {bytes, holds, next_allocation_id()};
      return hint;
    }
    if (there != MAP_FAILED) (void)::munmap(there, bytes);
  }
  void* raw = ::mmap(nullptr, bytes + alignment, PROT_NONE, no_memory, -1, 0);
  if (raw == MAP_FAILED) return 0;
  const std::uintptr_t base = aligned(raw, bytes, alignment);
  reservations[base] = {bytes, holds, next_allocation_id()};
  return base;
}

void Space::unreserve(std::uintptr_t base) {
  static std::uint64_t order = 0;
  gone[base] = {reservations.at(base).bytes, ++order};
  reservations.erase(base);
  if (gone.size() <= most_gone) return;
  const auto oldest = std::ranges::min_element(gone, {}, [](const auto& range) { return range.second.order; });
  let_go(oldest->first, oldest->second.bytes);
}

void Space::let_go(std::uintptr_t base, std::size_t bytes) {
  std::erase_if(gone, [&](const auto& range) {
    const bool overlaps = range.first < base + bytes && base < range.first + range.second.bytes;
    if (overlaps) (void)::munmap(at(range.first), range.second.bytes);
    return overlaps;
  });
}

std::uintptr_t Space::reserve_with_memory(Device& device, std::size_t bytes, Holds holds) {
  auto physical = Physical::take(device, bytes);
  if (!physical) return 0;
  const std::uintptr_t base = reserve(bytes, granule_bytes, 0, holds);
  if (!base) return 0;
  if (map(base, bytes, std::move(physical)) && set_access(base, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)) return base;
  unreserve(base);
  return 0;
}

bool Space::map(std::uintptr_t base, std::size_t bytes, std::shared_ptr<Physical> physical) {
  std::uintptr_t to = base;
  std::size_t left = bytes;
  for (const Extent& e : physical->extents) {
    const std::size_t length = std::min(left, e.count * granule_bytes);
    if (length == 0) break;
    // An old size of 0 makes a second mapping of shared memory: it needs no descriptor, which a program might close.
    void* there = ::mremap(physical->device.card->granule(e.first), 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, at(to));
    if (there == MAP_FAILED) {
      (void)::mmap(at(base), bytes, PROT_NONE, no_memory | MAP_FIXED, -1, 0);
      return false;
    }
    to += length;
    left -= length;
  }
  (void)::mprotect(at(base), bytes, PROT_NONE);
  mapped[base] = {bytes, std::move(physical)};
  return true;
}

void Space::unmap(std::uintptr_t base) {
  const auto found = mapped.find(base);
  (void)::mmap(at(base), found->second.bytes, PROT_NONE, no_memory | MAP_FIXED, -1, 0);
  mapped.erase(found);  // may give the memory back: from here on others may have it
}

bool Space::set_access(std::uintptr_t base, CUmemAccess_flags access) {
  MappedRange& range = mapped.at(base);
  if (::mprotect(at(base), range.bytes, protection(access)) != 0) return false;
  range.access = access;
  // Page tables are filled here, off the timed path of kernels and copies. An old kernel fills them as they go.
  if (access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE) (void)::madvise(at(base), range.bytes, MADV_POPULATE_WRITE);
  return true;
}

CUmemGenericAllocationHandle Space::handle_of(const std::shared_ptr<Physical>& physical) {
  static CUmemGenericAllocationHandle last = 0x51000000;
  if (!physical->handle) physical->handle = ++last;
  ++physical->references;
  handles[physical->handle] = physical;
  return physical->handle;
}

std::vector<std::uintptr_t> Space::whole_mappings(std::uintptr_t base, std::size_t bytes) const {
  std::vector<std::uintptr_t> found;
  std::uintptr_t next = base;
  for (auto it = mapped.find(base); it != mapped.end() && it->first == next && next - base < bytes; ++it) {
    found.push_back(next);
    next += it->second.bytes;
  }
  if (next - base != bytes) found.clear();
  return found;
}

namespace {

// Locked.
bool mapped_for(Space& all, std::uintptr_t address, std::size_t bytes, CUmemAccess_flags needed) {
  for (std::size_t done = 0; done < bytes;) {
    const auto range = Space::containing(all.mapped, address + done);
    if (range == all.mapped.end() || (range->second.access & needed) != needed) return false;
    done = range->first + range->second.bytes - address;
  }
  return true;
}

template <class Map>
bool inside_one(Map& ranges, std::uintptr_t address, std::size_t bytes) {
  const auto found = Space::containing(ranges, address);
  return found != ranges.end() && bytes <= found->second.bytes - (address - found->first);
}

Touch classify_host(Space& all, std::uintptr_t address, std::size_t bytes, CUmemAccess_flags needed) {
  if (!inside_one(all.host, address, bytes)) return Touch::unknown;
  const HostRange& host = Space::containing(all.host, address)->second;
  const bool read_only = host.kind == HostKind::registered && (host.flags & CU_MEMHOSTREGISTER_READ_ONLY);
  return read_only && needed == CU_MEM_ACCESS_FLAGS_PROT_READWRITE ? Touch::illegal : Touch::known_host;
}

}  // namespace

Touch classify(std::uintptr_t address, std::size_t bytes, CUmemAccess_flags needed) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto reserved = Space::containing(all.reservations, address);
  if (reserved == all.reservations.end()) return classify_host(all, address, bytes, needed);
  if (reserved->second.holds == Holds::program)
    return mapped_for(all, address, bytes, needed) ? Touch::device : Touch::illegal;
  if (inside_one(all.allocations, address, bytes)) return Touch::device;
  if (reserved->second.holds == Holds::allocations) return Touch::overrun;
  return mapped_for(all, address, bytes, needed) ? Touch::idle : Touch::illegal;
}

}  // namespace lull::sim

#include "shim/backing.h"

#include <sys/mman.h>

#include "shim/extents.h"
#include "shim/ledger.h"
#include "shim/lock.h"
#include "shim/log.h"
#include "shim/real.h"

namespace lull::backing {
namespace {

struct Arena {
  std::byte* base;
  std::uint64_t bytes;
  bool registered;
};

Mutex mutex;
Vector<Arena> arenas;
Extents places;  // by address
std::uint64_t bytes_in_all = 0;

// Addresses aligned for huge pages, with a gap before and after: two arenas must never join into one extent, because a
// copy may not cross two registrations.
std::byte* reserve(std::uint64_t bytes) {
  void* base =
      ::mmap(nullptr, bytes + 2 * ledger::granule, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const auto at = (reinterpret_cast<std::uintptr_t>(base) + ledger::granule) / ledger::granule * ledger::granule;
  return reinterpret_cast<std::byte*>(at);
}

}  // namespace

bool add_arena(int fd, std::uint64_t bytes) {
  std::byte* base = reserve(bytes);
  if (!base) return false;
  if (::mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) return false;
  (void)::madvise(base, bytes,
                  MADV_DONTFORK);  // a child has no use for it, and a pinned page must not be shared with one
  const Locked locked(mutex);
  if (!arenas.push({base, bytes, false})) return false;
  bytes_in_all += bytes;
  return true;
}

void register_arenas() {
  for (std::size_t i = 0;; ++i) {
    Arena arena;
    {
      const Locked locked(mutex);
      if (i >= arenas.size()) return;
      arena = arenas[i];
      if (arena.registered) continue;
      arenas[i].registered = true;
    }
    const CUresult result = real::cuMemHostRegister_v2(arena.base, arena.bytes, CU_MEMHOSTREGISTER_PORTABLE);
    if (result != CUDA_SUCCESS)
      log::line("cuMemHostRegister of %llu bytes: error %d; copies will be slower",
                static_cast<unsigned long long>(arena.bytes), result);
    const Locked locked(mutex);
    (void)places.add(reinterpret_cast<std::uint64_t>(arena.base), arena.bytes);  // without host memory for it: not used
  }
}

std::byte* take(std::uint64_t bytes) {
  const Locked locked(mutex);
  const auto place = places.take(bytes, 4096);
  return place ? reinterpret_cast<std::byte*>(*place) : nullptr;
}

void give(std::byte* place, std::uint64_t bytes) {
  const Locked locked(mutex);
  places.give(reinterpret_cast<std::uint64_t>(place), bytes);
}

std::uint64_t total_bytes() {
  const Locked locked(mutex);
  return bytes_in_all;
}

bool unregistered() {
  const Locked locked(mutex);
  for (const Arena& arena : arenas)
    if (!arena.registered) return true;
  return false;
}

}  // namespace lull::backing

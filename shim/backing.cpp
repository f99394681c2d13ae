#include "shim/backing.h"

#include <sys/mman.h>

#include <utility>

#include "shim/arena.h"
#include "shim/ledger.h"
#include "shim/lock.h"
#include "shim/log.h"
#include "shim/make.h"
#include "shim/parking.h"
#include "shim/process.h"
#include "shim/real.h"

namespace lull::backing {
namespace {

using At = Arena::At;

Mutex mutex;
Vector<Arena*> arenas;
Vector<Gone> gone_ones;
std::uint64_t bytes_in_all = 0;

std::uint64_t with_gaps(std::uint64_t bytes) { return bytes + 2 * ledger::granule; }

// Addresses aligned for huge pages, with a gap before and after.
std::byte* aligned(void* reserved) {
  const auto at = (reinterpret_cast<std::uintptr_t>(reserved) + ledger::granule) / ledger::granule * ledger::granule;
  return reinterpret_cast<std::byte*>(at);
}

void* map_arena(int fd, std::uint64_t bytes) {
  void* reserved = ::mmap(nullptr, with_gaps(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  std::byte* base = aligned(reserved);
  if (::mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    (void)::munmap(reserved, with_gaps(bytes));
    return nullptr;
  }
  // A child has no use for it, and a pinned page must not be shared with one.
  (void)::madvise(base, bytes, MADV_DONTFORK);
  return reserved;
}

// The arena that can best be spared: it can be returned, and holds the least.
Arena* emptiest(bool already_leaving) {
  Arena* found = nullptr;
  for (Arena* arena : arenas)
    if (arena->number && arena->leaving == already_leaving && (!found || arena->used() < found->used())) found = arena;
  return found;
}

// Which arenas are to go, such that what stays is no less than the limit.
void choose_leaving(std::optional<std::uint64_t> limit) {
  for (Arena* arena : arenas) arena->leaving = false;
  std::uint64_t staying = bytes_in_all;
  while (Arena* arena = limit ? emptiest(false) : nullptr) {
    if (staying < arena->bytes || staying - arena->bytes < *limit) return;
    arena->leaving = true;
    staying -= arena->bytes;
  }
}

// Takes one that is empty out of the list. Null: none is, or what is gone could not be noted.
Arena* take_empty() {
  const Locked locked(mutex);
  Arena* arena = emptiest(true);
  if (!arena || arena->used() > 0 || (arena->at != At::memory && arena->wanted)) return nullptr;
  if (!gone_ones.push({arena->number, arena->bytes})) return nullptr;
  arenas.remove(arena);
  bytes_in_all -= arena->bytes;
  return arena;
}

void let_go(Arena* arena) {
  if (arena->registered) (void)real::cuMemHostUnregister(arena->base);  // if it was refused, so is this
  parking::forget_file(*arena);
  (void)::munmap(arena->reserved, with_gaps(arena->bytes));
  arena->places.release();
  destroy(arena);
}

}  // namespace

Mutex& arenas_mutex() { return mutex; }
Vector<Arena*>& all_arenas(const Locked&) { return arenas; }

bool add_arena(int fd, std::uint64_t bytes, std::uint64_t number) {
  Arena* arena = make<Arena>();
  if (!arena) return false;
  arena->reserved = map_arena(fd, bytes);
  arena->base = aligned(arena->reserved);
  arena->bytes = bytes;
  arena->number = number;
  arena->file = -1;
  const Locked locked(mutex);
  if (arena->reserved && arenas.push(arena)) {
    bytes_in_all += bytes;
    return true;
  }
  if (arena->reserved) (void)::munmap(arena->reserved, with_gaps(bytes));
  destroy(arena);
  return false;
}

void register_arenas() {
  for (std::size_t i = 0;; ++i) {
    Arena* arena;
    {
      const Locked locked(mutex);
      if (i >= arenas.size()) return;
      arena = arenas[i];
      if (arena->registered || arena->at != At::memory) continue;
    }
    const CUresult result = real::cuMemHostRegister_v2(arena->base, arena->bytes, CU_MEMHOSTREGISTER_PORTABLE);
    if (result != CUDA_SUCCESS)
      log::line("cuMemHostRegister of %llu bytes: error %d; copies will be slower",
                static_cast<unsigned long long>(arena->bytes), result);
    const Locked locked(mutex);
    arena->registered = true;
    if (std::exchange(arena->placed, true)) continue;
    (void)arena->places.add(reinterpret_cast<std::uint64_t>(arena->base), arena->bytes);  // without it: not used
  }
}

std::byte* take(std::uint64_t bytes) {
  const Locked locked(mutex);
  for (Arena* arena : arenas) {
    if (arena->leaving || !arena->registered) continue;
    if (const auto place = arena->places.take(bytes, 4096)) return reinterpret_cast<std::byte*>(*place);
  }
  return nullptr;
}

void give(std::byte* place, std::uint64_t bytes) {
  const Locked locked(mutex);
  for (Arena* arena : arenas)
    if (arena->holds(place)) return arena->places.give(reinterpret_cast<std::uint64_t>(place), bytes);
}

std::uint64_t total_bytes() {
  const Locked locked(mutex);
  return bytes_in_all;
}

bool unregistered() {
  const Locked locked(mutex);
  for (const Arena* arena : arenas)
    if (!arena->registered && arena->at == At::memory) return true;
  return false;
}

bool may_shrink(std::optional<std::uint64_t> limit) {
  const Locked locked(mutex);
  choose_leaving(limit);
  return emptiest(true) != nullptr;
}

void shrink(std::optional<std::uint64_t> limit) {
  {
    const Locked ledger_locked(ledger::mutex());
    Vector<Arena*> leaving;
    {
      const Locked locked(mutex);
      choose_leaving(limit);
      for (Arena* arena : arenas)
        if (arena->leaving) (void)leaving.push(arena);  // without memory for it: another time
    }
    for (const Arena* arena : leaving) ledger::forget_copies(ledger_locked, arena->base, arena->bytes);
    leaving.release();
  }
  Arena* empty = take_empty();
  if (!empty) return;
  let_go(empty);
  process::kick_link();
}

std::optional<Gone> gone() {
  const Locked locked(mutex);
  if (gone_ones.empty()) return std::nullopt;
  return gone_ones[0];
}

void told() {
  const Locked locked(mutex);
  gone_ones.erase(0);
}

}  // namespace lull::backing

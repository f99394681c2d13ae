#include "shim/parking.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "shim/arena.h"
#include "shim/clock.h"
#include "shim/ledger.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"

namespace lull::parking {
namespace {

using backing::all_arenas;
using backing::Arena;
using backing::arenas_mutex;
using At = Arena::At;
using ledger::Chunk;
using ledger::Where;

constexpr std::uint64_t rest_after_loss_ns = 5'000'000'000;

Vector<int> closed_files;
std::atomic<bool> broker_speaks{false};

void close_later(const Locked&, Arena& arena) {
  if (arena.file >= 0) (void)closed_files.push(arena.file);  // without memory for it, it stays open
  arena.file = -1;
}

// What parking an arena would mean.
struct Content {
  std::uint64_t absent = 0;    // bytes that exist only there
  std::uint64_t changing = 0;  // of them, of chunks that were copied at their last eviction
  bool moving = false;
};

Content content_of(const Locked& ledger_locked, const Arena& arena) {
  Content content;
  for (unsigned slot = 0; slot < max_gpus; ++slot)
    for (const Chunk* chunk : ledger::chunks(ledger_locked, slot)) {
      if (!chunk->host || !arena.holds(chunk->host)) continue;
      content.moving |= chunk->where == Where::leaving || chunk->where == Where::coming;
      if (chunk->where != Where::absent) continue;
      content.absent += chunk->bytes;
      content.changing += chunk->steady ? 0 : chunk->bytes;
    }
  return content;
}

struct Parked {
  std::uint64_t bytes = 0, changing = 0;
  bool settled = true;  // none is on its way
};

Parked parked(const Locked& locked) {
  Parked sum;
  for (const Arena* arena : all_arenas(locked)) {
    if (arena->at == At::memory) continue;
    sum.bytes += arena->used();
    sum.changing += arena->changing;
    sum.settled &= arena->at == At::on_disk && arena->told;
  }
  return sum;
}

// Of those that may go, the one that costs the disk least; among equals, the one that frees most data.
Arena* choose(const Locked& ledger_locked, const Locked& locked, std::uint64_t most_changing, Content& chosen) {
  Arena* best = nullptr;
  for (Arena* arena : all_arenas(locked)) {
    if (!arena->number || !arena->registered || arena->private_memory || arena->at != At::memory || arena->resumed)
      continue;
    const Content content = content_of(ledger_locked, *arena);
    if (content.moving || content.absent == 0 || content.changing > most_changing) continue;
    const bool better = !best || content.changing < chosen.changing ||
                        (content.changing == chosen.changing && content.absent > chosen.absent);
    if (better) best = arena, chosen = content;
  }
  return best;
}

Arena* take_one(std::uint64_t wanted_bytes, std::uint64_t changing_bytes) {
  const Locked ledger_locked(ledger::mutex());
  Arena* arena = nullptr;
  {
    const Locked locked(arenas_mutex());
    const Parked now = parked(locked);
    if (!now.settled || now.bytes >= wanted_bytes) return nullptr;
    Content content;
    arena = choose(ledger_locked, locked,
                   changing_bytes - (now.changing < changing_bytes ? now.changing : changing_bytes), content);
    if (!arena) return nullptr;
    arena->at = At::parked;
    arena->changing = content.changing;
    arena->unregistered = arena->told = arena->wanted = arena->asked = arena->lost = arena->ours = false;
    ++arena->turn;
  }
  ledger::forget_copies(ledger_locked, arena->base, arena->bytes);
  return arena;
}

// Its content is here: to be registered again, and used.
void is_in_memory(const Locked& locked, Arena& arena) {
  arena.at = At::memory;
  arena.registered = false;
  arena.wanted = arena.asked = arena.lost = false;
  close_later(locked, arena);
}

Arena* arena_of(const Locked& locked, const std::byte* place) {
  for (Arena* arena : all_arenas(locked))
    if (arena->holds(place)) return arena;
  return nullptr;
}

Arena* numbered(const Locked& locked, std::uint64_t number, std::uint32_t turn) {
  for (Arena* arena : all_arenas(locked))
    if (arena->number == number && arena->turn == turn) return arena;
  return nullptr;
}

std::optional<SpillStep> step_of(const Arena& arena) {
  if (arena.resumed) return SpillStep::resumed;
  if (arena.at == At::memory || arena.ours || !arena.unregistered) return std::nullopt;
  if (arena.at == At::parked && !arena.told) return SpillStep::parked;
  if (arena.wanted) return arena.asked ? std::nullopt : std::optional(SpillStep::recalled);  // and the file is not kept
  if (arena.at == At::on_disk && !arena.told) return SpillStep::kept;
  return std::nullopt;
}

bool read_whole(int file, std::byte* to, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes;) {
    const ssize_t got = ::pread(file, to + at, bytes - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += static_cast<std::uint64_t>(got);
  }
  return true;
}

// Into memory of our own: an order of the broker's to punch the old one out may still be under way.
bool read_file(Arena& arena) {
  void* base = ::mmap(arena.base, arena.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (base == MAP_FAILED) return false;
  (void)::madvise(base, arena.bytes, MADV_DONTFORK);
  return read_whole(arena.file, arena.base, arena.bytes) && sum_of(arena.base, arena.bytes) == arena.sum;
}

Arena* to_be_read() {
  const Locked locked(arenas_mutex());
  for (Arena* arena : all_arenas(locked))
    if (arena->at == At::on_disk && arena->ours && arena->wanted && !arena->lost) return arena;
  return nullptr;
}

void could_not(Arena& arena) {
  arena.lost = true;
  arena.lost_ns = monotonic_ns();
  arena.wanted = arena.asked = false;
  log::line("what is on disk of arena %llu cannot be had back; it is tried again",
            static_cast<unsigned long long>(arena.number));
}

}  // namespace

bool may_park(std::uint64_t wanted_bytes) {
  if (wanted_bytes == 0) return false;
  const Locked locked(arenas_mutex());
  const Parked now = parked(locked);
  return now.settled && now.bytes < wanted_bytes;
}

void park(std::uint64_t wanted_bytes, std::uint64_t changing_bytes) {
  Arena* arena = take_one(wanted_bytes, changing_bytes);
  if (!arena) return;
  (void)real::cuMemHostUnregister(arena->base);  // if registering was refused, so is this
  {
    const Locked locked(arenas_mutex());
    arena->registered = false;
    arena->unregistered = true;
  }
  process::kick_link();
}

bool at_hand(const std::byte* place) {
  if (!place) return true;
  const Locked locked(arenas_mutex());
  const Arena* arena = arena_of(locked, place);
  return !arena || (arena->at == At::memory && arena->registered);
}

void recall(const std::byte* place) {
  {
    const Locked locked(arenas_mutex());
    Arena* arena = arena_of(locked, place);
    if (!arena || arena->at == At::memory || arena->wanted) return;
    if (arena->lost && monotonic_ns() - arena->lost_ns < rest_after_loss_ns) return;
    arena->lost = false;
    arena->wanted = true;
  }
  process::kick_link();
}

bool lost(const std::byte* place) {
  const Locked locked(arenas_mutex());
  const Arena* arena = arena_of(locked, place);
  return arena && arena->lost;
}

void forget_file(Arena& arena) {
  const Locked locked(arenas_mutex());
  close_later(locked, arena);
}

std::optional<Spill> next_step() {
  const Locked locked(arenas_mutex());
  for (const Arena* arena : all_arenas(locked))
    if (const auto step = step_of(*arena)) {
      auto spill = make_message<Spill>();
      spill.number = arena->number;
      spill.bytes = arena->bytes;
      spill.step = static_cast<std::uint32_t>(*step);
      spill.turn = arena->turn;
      spill.changing = arena->changing;
      return spill;
    }
  return std::nullopt;
}

void stepped(const Spill& spill) {
  const Locked locked(arenas_mutex());
  Arena* arena = numbered(locked, spill.number, spill.turn);
  if (!arena) return;
  switch (static_cast<SpillStep>(spill.step)) {
    case SpillStep::parked:
    case SpillStep::kept: arena->told = true; break;
    case SpillStep::recalled: arena->asked = true; break;
    case SpillStep::resumed: arena->resumed = false; break;
  }
}

void on_spilled(const Spilled& spilled, int& file) {
  const Locked locked(arenas_mutex());
  Arena* arena = numbered(locked, spilled.number, spilled.turn);
  if (!arena || arena->at != At::parked || !arena->told || arena->wanted || arena->bytes != spilled.bytes) return;
  arena->at = At::on_disk;
  arena->told = false;  // that the file is here
  arena->file = file;
  arena->sum = {spilled.sum[0], spilled.sum[1]};
  file = -1;
}

void on_filled(const Filled& filled) {
  {
    const Locked locked(arenas_mutex());
    Arena* arena = numbered(locked, filled.number, filled.turn);
    if (!arena || arena->at == At::memory || arena->ours) return;
    if (filled.lost) {
      could_not(*arena);
    } else {
      is_in_memory(locked, *arena);
      arena->resumed = true;
    }
  }
  process::nudge_mover();
}

bool spoken() { return broker_speaks.load(std::memory_order_acquire); }

void broker_came(unsigned minor) { broker_speaks.store(minor >= 2, std::memory_order_release); }

void broker_gone() {
  {
    const Locked locked(arenas_mutex());
    for (Arena* arena : all_arenas(locked)) {
      arena->resumed = false;
      if (arena->at == At::parked && arena->unregistered) is_in_memory(locked, *arena);
      if (arena->at == At::on_disk) arena->ours = true, arena->lost = false;
    }
  }
  process::nudge_mover();
}

// The lock is not held meanwhile: nobody else touches an arena that is on disk, and none goes while it is wanted.
void read_files() {
  while (Arena* arena = to_be_read()) {
    const bool read = read_file(*arena);
    {
      const Locked locked(arenas_mutex());
      if (!read) {
        could_not(*arena);
      } else {
        is_in_memory(locked, *arena);
        arena->private_memory = true;
      }
    }
    process::nudge_mover();
  }
}

int take_closed_file() {
  const Locked locked(arenas_mutex());
  if (closed_files.empty()) return -1;
  const int file = closed_files.back();
  closed_files.erase(closed_files.size() - 1);
  return file;
}

}  // namespace lull::parking

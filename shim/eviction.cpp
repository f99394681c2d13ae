#include "shim/eviction.h"

#include <cstdlib>
#include <cstring>

#include "shim/backing.h"
#include "shim/environment.h"
#include "shim/log.h"
#include "shim/managed.h"
#include "shim/mover.h"
#include "shim/process.h"
#include "shim/vmm.h"

namespace lull::residency {
namespace {

using ledger::Chunk;
using ledger::Copy;
using ledger::Where;

constexpr unsigned rounds_between_tries = 16;
std::uint32_t rounds = 0;

// What may leave without a copy.
bool probably_unchanged(const Locked& locked, const Chunk& chunk, std::uint32_t round) {
  return ledger::untouched(locked, chunk) || (chunk.hashed && chunk.changed_in != round);
}

// That first; then the chunk whose leaving ends the deficit with the least excess, else the largest.
bool better(const Locked& locked, const Chunk& a, const Chunk& b, std::uint64_t deficit, std::uint32_t round) {
  const bool a_may = probably_unchanged(locked, a, round), b_may = probably_unchanged(locked, b, round);
  if (a_may != b_may) return a_may;
  const bool a_enough = a.bytes >= deficit, b_enough = b.bytes >= deficit;
  if (a_enough != b_enough) return a_enough;
  return a_enough ? a.bytes < b.bytes : a.bytes > b.bytes;
}

// Every byte of a chunk against its copy. It is read again for that; without memory for it, nothing is known.
enum class Compared { same, different, unknown };

Compared compare(const Chunk& chunk) {
  auto* now = static_cast<std::byte*>(std::malloc(chunk.bytes));
  const bool read = now && real::cuMemcpyDtoH_v2(now, chunk.base, chunk.bytes) == CUDA_SUCCESS;
  const bool same = read && std::memcmp(now, chunk.host, chunk.bytes) == 0;
  std::free(now);
  return !read ? Compared::unknown : same ? Compared::same : Compared::different;
}

// LULL_HASH=compare: the hash says unchanged, and every byte is looked at as well.
bool really_unchanged(const Chunk& chunk) {
  if (environment().hashing != Hashing::compare) return true;
  const Compared compared = compare(chunk);
  if (compared == Compared::different) log::line("hash: memory at %llx has changed and its hash has not", chunk.base);
  return compared == Compared::same;
}

// Likewise: a copy that has arrived wrong is found while the chunk is still there.
bool arrived_well(const Chunk& chunk) {
  if (environment().hashing != Hashing::compare || chunk.region->managed) return true;
  if (compare(chunk) != Compared::different) return true;
  log::line("evict: the copy of memory at %llx is not what is there; made again", chunk.base);
  return false;
}

// Its place serves others.
void becomes_zeros(Chunk& chunk) {
  if (chunk.host) backing::give(chunk.host, chunk.bytes);
  chunk.host = nullptr;
  chunk.copy = Copy::zeros;
}

}  // namespace

bool Habit::worth_hashing() {
  if (rounds_to_skip_ == 0) return true;
  --rounds_to_skip_;
  return false;
}

void Habit::note(unsigned judged, unsigned unchanged) {
  if (judged == 0) return;
  changed_rounds_ = unchanged * 16 < judged ? changed_rounds_ + 1 : 0;
  if (changed_rounds_ >= 2) rounds_to_skip_ = rounds_between_tries;
}

Eviction::Eviction(unsigned slot, Target target, Engine& engine, Hasher* hasher, Habit& habit)
    : slot_(slot),
      target_(target),
      hasher_(hasher),
      habit_(habit),
      round_(++rounds),
      candidates_(slot),
      moves_(engine, slot) {}

Overdue Eviction::run() {
  for (;;) {
    while (examine_next() || copy_next_piece()) {
    }
    if (moves_.oldest_over()) {
      settle_oldest_move();
    } else if (!examined_.empty() && (!moves_.in_flight() || hasher_->done(examined_.oldest_place()))) {
      judge_oldest();
    } else if (moves_.in_flight()) {
      land_oldest_piece();
    } else {
      break;
    }
  }
  habit_.note(judged_, unchanged_);
  return failure_;
}

// What is probably unchanged is summed up on the way, for others_may_do().
ledger::Chunk* Eviction::choose(const Locked& locked, std::uint64_t deficit) {
  bool first = true;
  Chunk* chosen = candidates_.next(
      locked, [&](const Chunk& c) { return c.where == Where::present && c.bytes <= deficit; },
      [&](const Chunk& c) {
        if (first) unchanged_left_ = 0;
        first = false;
        if (c.where == Where::present && probably_unchanged(locked, c, round_)) unchanged_left_ += c.bytes;
        return c.where == Where::present;
      },
      [&](const Chunk& a, const Chunk& b) { return better(locked, a, b, deficit, round_); });
  if (chosen && probably_unchanged(locked, *chosen, round_)) unchanged_left_ -= chosen->bytes;
  return chosen;
}

// The next chunk is chosen and marked; it is hashed if that may tell something, else it goes to be copied.
bool Eviction::examine_next() {
  if (failure_ != Overdue::none || mover::wanted_to_rest()) return false;
  if (examined_.size() + waiting_.size() >= Hasher::depth) return false;
  Chunk* chunk = nullptr;
  {
    const Locked locked(ledger::mutex());
    const std::uint64_t stays = ledger::staying(locked, slot_), quota = target_(slot_);
    if (stays > quota) chunk = choose(locked, stays - quota);
    if (!chunk) return false;
    const bool untouched = ledger::untouched(locked, *chunk);
    ledger::note_moved(locked, *chunk, Where::leaving);
    if (untouched && (chunk->copy == Copy::zeros || really_unchanged(*chunk))) {
      ledger::note_unchanged(locked, slot_, chunk->bytes);
      return leave(locked, *chunk), true;
    }
  }
  const bool known = chunk->changed_in == round_ || chunk->region->managed;  // a hash would bring its pages here
  if (hasher_ && !known && hasher_->begin(chunk->base, chunk->bytes, examined_.next_place()) == CUDA_SUCCESS) {
    examined_.push(chunk);
  } else {
    chunk->hashed = chunk->steady = false;
    waiting_.push(chunk);
  }
  return true;
}

void Eviction::judge_oldest() {
  Digest digest{};
  const CUresult finished = hasher_->finish(examined_.oldest_place(), digest);
  Chunk& chunk = *examined_.pop();
  const Locked locked(ledger::mutex());
  if (chunk.doomed) return ledger::drop(locked, chunk);
  if (finished == CUDA_SUCCESS) return judge(locked, chunk, digest);
  log::line("evict: hash failed: error %d", finished);
  chunk.hashed = false;
  waiting_.push(&chunk);
}

void Eviction::judge(const Locked& locked, Chunk& chunk, const Digest& digest) {
  const bool had_copy = chunk.hashed;
  const bool unchanged =
      had_copy && chunk.hash == digest.hash && (chunk.copy == Copy::zeros || really_unchanged(chunk));
  chunk.steady = unchanged || digest.zero;
  judged_ += had_copy, unchanged_ += unchanged;
  chunk.hash = digest.hash;
  if (digest.zero) becomes_zeros(chunk);
  if (unchanged || digest.zero) {
    chunk.hashed = true;
    if (unwanted(locked, chunk)) return stay(locked, chunk);
    ledger::note_unchanged(locked, slot_, chunk.bytes);
    return leave(locked, chunk);
  }
  chunk.changed_in = round_;
  chunk.copy = Copy::none;
  chunk.hashed = false;
  if (had_copy && others_may_do(locked)) return stay(locked, chunk);
  waiting_.push(&chunk);
}

// Whether what is probably unchanged suffices to come under the quota without this chunk.
bool Eviction::others_may_do(const Locked& locked) const {
  const std::uint64_t stays = ledger::staying(locked, slot_), quota = target_(slot_);
  return stays <= quota || unchanged_left_ >= stays - quota;
}

bool Eviction::unwanted(const Locked& locked, const Chunk& chunk) const {
  return failure_ != Overdue::none || mover::wanted_to_rest() ||
         ledger::staying(locked, slot_) + chunk.bytes <= target_(slot_);
}

bool Eviction::place_for(const Locked& locked, Chunk& chunk) {
  if (chunk.region->managed) return true;  // its place is the driver's business
  while (!chunk.host) {
    chunk.host = backing::take(chunk.bytes);
    if (!chunk.host && !ledger::give_up_a_copy(locked, slot_)) return false;
  }
  return true;
}

// False: nothing to copy now, or no room in flight for more.
bool Eviction::copy_next_piece() {
  if (!moves_.room_for_piece()) return false;
  Move* move = moves_.open();
  if (!move) return begin_copy();
  {
    const Locked locked(ledger::mutex());
    move->stopped = unwanted(locked, *move->chunk) || move->chunk->doomed;
  }
  if (move->stopped) return true;
  const CUresult copied = moves_.copy_out(*move);
  if (copied == CUDA_SUCCESS) return true;
  if (ledger::is_doomed(*move->chunk)) return true;  // managed memory that the program has freed in this moment
  log::line("evict: copy to host refused: error %d", copied);
  failure_ = Overdue::copy_failed;
  return true;
}

bool Eviction::begin_copy() {
  if (waiting_.empty() || !moves_.room_for_chunk()) return false;
  Chunk& chunk = *waiting_.pop();
  const Locked locked(ledger::mutex());
  if (chunk.doomed) return ledger::drop(locked, chunk), true;
  if (unwanted(locked, chunk)) return stay(locked, chunk), true;
  if (!place_for(locked, chunk)) {
    failure_ = Overdue::no_backing;
    return stay(locked, chunk), true;
  }
  chunk.copy = Copy::none;  // from the first piece on the old one is no good
  moves_.begin(&chunk);
  return true;
}

void Eviction::land_oldest_piece() {
  const CUresult finished = moves_.land();
  if (finished == CUDA_SUCCESS) return;
  log::line("evict: copy to host failed: error %d", finished);
  failure_ = Overdue::copy_failed;
}

void Eviction::settle_oldest_move() {
  const Move move = moves_.take_oldest();
  Chunk& chunk = *move.chunk;
  const bool well = !move.complete() || arrived_well(chunk);  // without the lock: it takes long
  const Locked locked(ledger::mutex());
  if (chunk.doomed) return ledger::drop(locked, chunk);
  if (move.read_mostly) managed::set_read_mostly(chunk);
  if (!well) failure_ = Overdue::copy_failed;
  if (!well || !move.complete()) return stay(locked, chunk);
  chunk.copy = Copy::host;
  chunk.hashed = chunk.changed_in == round_;
  ledger::note_copied(locked, slot_, chunk.bytes, 0);
  leave(locked, chunk);
}

void Eviction::leave(const Locked& locked, Chunk& chunk) {
  if (!vmm::unmap(chunk)) {
    failure_ = Overdue::copy_failed;  // the copy is good, for another time
    return stay(locked, chunk);
  }
  ledger::note_moved(locked, chunk, Where::absent);
  process::kick_link();  // what has left can be given to the next one now
}

void Eviction::stay(const Locked& locked, Chunk& chunk) {
  if (chunk.copy == Copy::none) chunk.hashed = false;
  ledger::note_moved(locked, chunk, Where::present);
}

}  // namespace lull::residency

#include "shim/restoration.h"

#include "shim/log.h"
#include "shim/mover.h"
#include "shim/parking.h"
#include "shim/process.h"

namespace lull::residency {
namespace {

using ledger::Chunk;
using ledger::Copy;
using ledger::Where;

bool content_at_hand(const Chunk& chunk) { return chunk.copy != Copy::host || parking::at_hand(chunk.host); }

// Of neighbours, as many as one piece: the driver is asked once for all of them. What does not fit the quota is left.
unsigned neighbours(Chunk* first, std::uint64_t room, std::uint64_t piece, Chunk** run) {
  unsigned count = 0;
  std::uint64_t bytes = 0;
  for (Chunk* chunk : first->region->chunks) {  // by address
    const bool next = count == 0 ? chunk == first : chunk->base == run[count - 1]->base + run[count - 1]->bytes;
    if (!next) continue;
    const bool fits = bytes + chunk->bytes <= room && (count == 0 || bytes + chunk->bytes <= piece);
    if (chunk->where != Where::absent || !content_at_hand(*chunk) || !fits || count == vmm::longest_run) break;
    run[count++] = chunk;
    bytes += chunk->bytes;
  }
  return count;
}

}  // namespace

// One scan of them all serves many calls.
ledger::Chunk* Restoration::choose(const Locked& locked) {
  const auto absent = [](const Chunk& c) { return c.where == Where::absent && content_at_hand(c); };
  return candidates_.next(locked, absent, absent, [](const Chunk& a, const Chunk& b) { return a.base < b.base; });
}

Restoration::Restoration(unsigned slot, Target quota, Engine& engine, Hasher* hasher)
    : slot_(slot), quota_(quota), hasher_(hasher), candidates_(slot), moves_(engine, slot) {}

Overdue Restoration::run() {
  for (;;) {
    while (copy_next_piece() || map_next()) {
    }
    if (moves_.oldest_over()) {
      settle_oldest_move();
    } else if (!proofs_.empty() && (!moves_.in_flight() || hasher_->done(proofs_.oldest_place()))) {
      prove_oldest();
    } else if (moves_.in_flight()) {
      land_oldest_piece();
    } else {
      break;
    }
  }
  process::kick_link();
  if (failure_ == Overdue::none) recall_the_rest();
  return failure_;
}

// What is on disk comes when it has been read; until then there is nothing to do for it.
void Restoration::recall_the_rest() {
  const Locked locked(ledger::mutex());
  if (unwanted(locked)) return;
  for (const Chunk* chunk : ledger::chunks(locked, slot_)) {
    if (chunk->where != Where::absent || content_at_hand(*chunk)) continue;
    parking::recall(chunk->host);
    if (parking::lost(chunk->host)) failure_ = parking::spoken() ? Overdue::spill_lost : Overdue::copy_failed;
  }
}

bool Restoration::unwanted(const Locked& locked) const {
  return failure_ != Overdue::none || mover::wanted_to_rest() || ledger::resident(locked, slot_) > quota_(slot_);
}

// Under one lock with the choice: the program may map, unmap and release what it made at any time.
bool Restoration::map_next() {
  if (!mapped_.empty() || !moves_.room_for_chunk()) return false;
  const Locked locked(ledger::mutex());
  if (unwanted(locked)) return false;
  Chunk* first = choose(locked);
  const std::uint64_t resident = ledger::resident(locked, slot_), quota = quota_(slot_);
  if (!first) return false;
  if (resident > quota || first->bytes > quota - resident) return candidates_.not_taken(), false;
  Chunk* run[vmm::longest_run];
  const unsigned count = neighbours(first, quota - resident, moves_.piece_bytes(), run);
  const CUresult mapped = vmm::map(run, count);
  if (mapped != CUDA_SUCCESS) {
    candidates_.not_taken();
    failure_ = mapped == CUDA_ERROR_OUT_OF_MEMORY ? Overdue::no_device_memory : Overdue::copy_failed;
    return false;
  }
  for (unsigned i = 0; i < count; ++i) {
    ledger::note_moved(locked, *run[i], Where::coming);
    mapped_.push(run[i]);
  }
  return true;
}

// False: nothing to copy now, or no room in flight for more.
bool Restoration::copy_next_piece() {
  if (!moves_.room_for_piece()) return false;
  Move* move = moves_.open();
  if (!move) {
    if (mapped_.empty() || !moves_.room_for_chunk()) return false;
    Chunk* chunk = mapped_.pop();
    if (chunk->copy == Copy::none)
      arrive(*chunk);  // its content was never there
    else
      moves_.begin(chunk);
    return true;
  }
  {
    const Locked locked(ledger::mutex());
    move->stopped = unwanted(locked) || move->chunk->doomed;
  }
  if (move->stopped) return true;
  const CUresult copied = move->chunk->copy == Copy::zeros ? moves_.zero(*move) : moves_.copy_in(*move);
  if (copied == CUDA_SUCCESS) return true;
  if (ledger::is_doomed(*move->chunk)) return true;  // managed memory that the program has freed in this moment
  log::line("restore: copy to device refused: error %d", copied);
  failure_ = Overdue::copy_failed;
  return true;
}

void Restoration::land_oldest_piece() {
  const CUresult finished = moves_.land();
  if (finished == CUDA_SUCCESS) return;
  log::line("restore: copy to device failed: error %d", finished);
  failure_ = Overdue::copy_failed;
}

void Restoration::settle_oldest_move() {
  if (proofs_.full()) prove_oldest();
  const Move move = moves_.take_oldest();
  Chunk& chunk = *move.chunk;
  if (!move.complete()) return take_back(chunk);
  if (chunk.copy == Copy::host) ledger::note_copied(Locked(ledger::mutex()), slot_, 0, chunk.bytes);
  if (hasher_ && chunk.hashed && hasher_->begin(chunk.base, chunk.bytes, proofs_.next_place()) == CUDA_SUCCESS)
    proofs_.push(&chunk);
  else
    arrive(chunk);
}

void Restoration::prove_oldest() {
  Digest digest{};
  const CUresult finished = hasher_->finish(proofs_.oldest_place(), digest);
  Chunk& chunk = *proofs_.pop();
  if (finished == CUDA_SUCCESS && digest.hash == chunk.hash) return arrive(chunk);
  log::line("restore: what has arrived at %llx is not what left; tried again", chunk.base);
  failure_ = Overdue::copy_failed;
  take_back(chunk);
}

void Restoration::arrive(Chunk& chunk) {
  const Locked locked(ledger::mutex());
  ledger::note_moved(locked, chunk, Where::present);
  if (chunk.doomed) ledger::drop(locked, chunk);
}

void Restoration::take_back(Chunk& chunk) {
  const Locked locked(ledger::mutex());
  vmm::discard(chunk);  // the copy stays
  ledger::note_moved(locked, chunk, Where::absent);
  if (chunk.doomed) ledger::drop(locked, chunk);
}

}  // namespace lull::residency

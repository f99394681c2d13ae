#include "shim/residency.h"

#include "shim/backing.h"
#include "shim/engine.h"
#include "shim/ledger.h"
#include "shim/log.h"
#include "shim/mover.h"
#include "shim/process.h"
#include "shim/vmm.h"

namespace lull::residency {
namespace {

using ledger::Chunk;
using ledger::Where;

Engine engines[max_gpus];

// Chunks on their way, oldest first.
class Flights {
 public:
  bool empty() const { return count_ == 0; }
  bool full() const { return count_ == Engine::depth; }
  unsigned next_ticket() const { return (first_ + count_) % Engine::depth; }
  void add(Chunk* chunk) { chunks_[(first_ + count_++) % Engine::depth] = chunk; }
  unsigned oldest_ticket() const { return first_; }
  Chunk* take() {
    Chunk* chunk = chunks_[first_];
    first_ = (first_ + 1) % Engine::depth;
    --count_;
    return chunk;
  }

 private:
  Chunk* chunks_[Engine::depth] = {};
  unsigned first_ = 0, count_ = 0;
};

// The chunk whose leaving ends the deficit with the least excess, else the largest.
Chunk* choose_to_evict(const Locked& locked, unsigned slot, std::uint64_t deficit) {
  Chunk *largest = nullptr, *enough = nullptr;
  for (Chunk* chunk : ledger::chunks(locked, slot)) {
    if (chunk->where != Where::present) continue;
    if (!largest || chunk->bytes > largest->bytes) largest = chunk;
    if (chunk->bytes >= deficit && (!enough || chunk->bytes < enough->bytes)) enough = chunk;
  }
  return enough ? enough : largest;
}

// Bytes that will still be resident when everything on its way out has left.
std::uint64_t staying(const Locked& locked, unsigned slot) {
  std::uint64_t bytes = 0;
  for (const Chunk* chunk : ledger::chunks(locked, slot))
    if (chunk->where == Where::present || chunk->where == Where::coming) bytes += chunk->bytes;
  return bytes;
}

enum class Issued { started, nothing_to_do, failed };

Issued issue_eviction(unsigned slot, std::uint64_t quota, Flights& flights, Overdue& failure) {
  Chunk* chunk = nullptr;
  {
    const Locked locked(ledger::mutex());
    const std::uint64_t stays = staying(locked, slot);
    if (stays <= quota) return Issued::nothing_to_do;
    chunk = choose_to_evict(locked, slot, stays - quota);
    if (!chunk) return Issued::nothing_to_do;
    chunk->host = backing::take(chunk->bytes);
    if (!chunk->host) {
      failure = Overdue::no_backing;
      return Issued::failed;
    }
    ledger::note_moved(locked, *chunk, Where::leaving);
  }
  const CUresult copied = engines[slot].copy_out(chunk->host, chunk->base, chunk->bytes, flights.next_ticket());
  if (copied == CUDA_SUCCESS) {
    flights.add(chunk);
    return Issued::started;
  }
  log::line("evict: copy to host refused: error %d", copied);
  const Locked locked(ledger::mutex());
  backing::give(chunk->host, chunk->bytes);
  chunk->host = nullptr;
  ledger::note_moved(locked, *chunk, Where::present);
  if (chunk->doomed) ledger::drop(locked, *chunk);
  failure = Overdue::copy_failed;
  return Issued::failed;
}

void finish_eviction(unsigned slot, Flights& flights, Overdue& failure) {
  const CUresult finished = engines[slot].wait(flights.oldest_ticket());
  Chunk* chunk = flights.take();
  {
    const Locked locked(ledger::mutex());
    if (finished != CUDA_SUCCESS) {  // the data is still where it was
      log::line("evict: copy to host failed: error %d", finished);
      backing::give(chunk->host, chunk->bytes);
      chunk->host = nullptr;
      ledger::note_moved(locked, *chunk, Where::present);
      failure = Overdue::copy_failed;
    } else if (!chunk->doomed) {
      vmm::unmap(*chunk);
      ledger::note_moved(locked, *chunk, Where::absent);
    }
    if (chunk->doomed) ledger::drop(locked, *chunk);
  }
  process::kick_link();  // what has left can be given to the next one now
}

Overdue evict_to(unsigned slot, std::uint64_t (*quota_now)(unsigned)) {
  Flights flights;
  Overdue failure = Overdue::none;
  for (;;) {
    while (!flights.full() && failure == Overdue::none && !mover::wanted_to_rest())
      if (issue_eviction(slot, quota_now(slot), flights, failure) != Issued::started) break;
    if (flights.empty()) return failure;
    finish_eviction(slot, flights, failure);
  }
}

std::uint64_t quota_now(unsigned slot) { return process::quota(slot).value_or(~0ull); }
std::uint64_t nothing(unsigned) { return 0; }

Overdue evict_with(unsigned slot, std::uint64_t (*target)(unsigned)) {
  const CUcontext context = process::working_context(slot);
  const Current current(context);
  if (!context || !current || !engines[slot].ready(context)) return Overdue::copy_failed;
  return evict_to(slot, target);
}

// The next chunk that may come back under the quota.
Chunk* choose_to_restore(const Locked& locked, unsigned slot) {
  std::uint64_t here = 0;
  Chunk* absent = nullptr;
  for (Chunk* chunk : ledger::chunks(locked, slot)) {
    if (chunk->where != Where::absent) here += chunk->bytes;
    if (chunk->where == Where::absent && (!absent || chunk->base < absent->base)) absent = chunk;
  }
  return absent && here + absent->bytes <= quota_now(slot) ? absent : nullptr;
}

void arrived(const Locked& locked, Chunk& chunk) {
  ledger::note_moved(locked, chunk, Where::present);
  if (chunk.host) backing::give(chunk.host, chunk.bytes);
  chunk.host = nullptr;
  if (chunk.doomed) ledger::drop(locked, chunk);
}

void came_not(const Locked& locked, Chunk& chunk) {
  ledger::note_moved(locked, chunk, Where::absent);
  if (chunk.doomed) ledger::drop(locked, chunk);
}

// Under one lock with the choice: the program may map, unmap and release what it made at any time.
ledger::Chunk* map_next(unsigned slot, Overdue& failure) {
  const Locked locked(ledger::mutex());
  Chunk* chunk = choose_to_restore(locked, slot);
  if (!chunk) return nullptr;
  const CUresult mapped = vmm::map(*chunk);
  if (mapped != CUDA_SUCCESS) {
    failure = mapped == CUDA_ERROR_OUT_OF_MEMORY ? Overdue::no_device_memory : Overdue::copy_failed;
    return nullptr;
  }
  ledger::note_moved(locked, *chunk, Where::coming);
  return chunk;
}

void take_back(Chunk& chunk) {
  const Locked locked(ledger::mutex());
  vmm::unmap(chunk);  // the host copy stays
  came_not(locked, chunk);
}

Issued issue_restore(unsigned slot, Flights& flights, Overdue& failure) {
  Chunk* chunk = map_next(slot, failure);
  if (!chunk) return failure == Overdue::none ? Issued::nothing_to_do : Issued::failed;
  if (!chunk->host) {  // its content was never there
    const Locked locked(ledger::mutex());
    arrived(locked, *chunk);
    return Issued::started;
  }
  const CUresult copied = engines[slot].copy_in(chunk->base, chunk->host, chunk->bytes, flights.next_ticket());
  if (copied == CUDA_SUCCESS) {
    flights.add(chunk);
    return Issued::started;
  }
  log::line("restore: copy to device refused: error %d", copied);
  take_back(*chunk);
  failure = Overdue::copy_failed;
  return Issued::failed;
}

void finish_restore(unsigned slot, Flights& flights, Overdue& failure) {
  const CUresult finished = engines[slot].wait(flights.oldest_ticket());
  Chunk* chunk = flights.take();
  if (finished == CUDA_SUCCESS) {
    const Locked locked(ledger::mutex());
    return arrived(locked, *chunk);
  }
  log::line("restore: copy to device failed: error %d", finished);
  take_back(*chunk);
  failure = Overdue::copy_failed;
}

}  // namespace

Overdue evict(unsigned slot) { return evict_with(slot, quota_now); }
Overdue evict_all(unsigned slot) { return evict_with(slot, nothing); }

Overdue restore(unsigned slot) {
  const CUcontext context = process::working_context(slot);
  const Current current(context);
  if (!context || !current || !engines[slot].ready(context)) return Overdue::copy_failed;
  Flights flights;
  Overdue failure = Overdue::none;
  for (;;) {
    while (!flights.full() && failure == Overdue::none && !mover::wanted_to_rest())
      if (issue_restore(slot, flights, failure) != Issued::started) break;
    if (flights.empty()) break;
    finish_restore(slot, flights, failure);
  }
  process::kick_link();
  return failure;
}

bool anything_absent(unsigned slot) {
  const auto sizes = ledger::sizes(slot);
  return sizes.resident < sizes.needed;
}

void forget_context(CUcontext context) {
  for (Engine& engine : engines)
    if (engine.context() == context) engine.forget();
}

}  // namespace lull::residency

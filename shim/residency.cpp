#include "shim/residency.h"

#include "shim/environment.h"
#include "shim/eviction.h"
#include "shim/parking.h"
#include "shim/process.h"
#include "shim/restoration.h"

namespace lull::residency {
namespace {

struct Card {
  Engine engine;
  Hasher hasher;
  Habit habit;
};
Card cards[max_gpus];

std::uint64_t quota_now(unsigned slot) { return process::quota(slot).value_or(~0ull); }
std::uint64_t nothing(unsigned) { return 0; }

Overdue evict_to(unsigned slot, Target target) {
  Card& card = cards[slot];
  const CUcontext context = process::working_context(slot);
  const Current current(context);
  if (!context || !current || !card.engine.ready(context)) return Overdue::copy_failed;
  const bool hashing = card.hasher.ready(context) && card.habit.worth_hashing();
  return Eviction(slot, target, card.engine, hashing ? &card.hasher : nullptr, card.habit).run();
}

}  // namespace

void prepare(unsigned slot, CUcontext context) {
  (void)cards[slot].engine.ready(context);
  if (environment().hashing != Hashing::off) (void)cards[slot].hasher.prepare(context);
}

bool prepared(unsigned slot, CUcontext context) {
  const Card& card = cards[slot];
  return card.engine.context() == context &&
         (environment().hashing == Hashing::off || card.hasher.ready(context) || card.hasher.refused(context));
}

Overdue evict(unsigned slot) { return evict_to(slot, quota_now); }
Overdue evict_all(unsigned slot) { return evict_to(slot, nothing); }

Overdue restore(unsigned slot) {
  Card& card = cards[slot];
  const CUcontext context = process::working_context(slot);
  const Current current(context);
  if (!context || !current || !card.engine.ready(context)) return Overdue::copy_failed;
  return Restoration(slot, quota_now, card.engine, card.hasher.ready(context) ? &card.hasher : nullptr).run();
}

bool anything_absent(unsigned slot) {
  const auto sizes = ledger::sizes(slot);
  return sizes.resident < sizes.needed;
}

bool all_at_hand(unsigned slot) {
  const Locked locked(ledger::mutex());
  bool all = true;
  for (const ledger::Chunk* chunk : ledger::chunks(locked, slot)) {
    if (chunk->where != ledger::Where::absent || chunk->copy != ledger::Copy::host) continue;
    if (parking::at_hand(chunk->host)) continue;
    parking::recall(chunk->host);
    all = false;
  }
  return all;
}

void forget_context(CUcontext context) {
  for (Card& card : cards) {
    if (card.engine.context() == context) card.engine.forget();
    if (card.hasher.context() == context) card.hasher.forget();
  }
}

}  // namespace lull::residency

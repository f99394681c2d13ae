// shim/eviction.h: one eviction (residency.h), from the choice of chunks to the last unmap. The mover's thread only.
#pragma once
#include "protocol/words.h"
#include "shim/candidates.h"
#include "shim/hasher.h"
#include "shim/moves.h"

namespace lull::residency {

using Target = std::uint64_t (*)(unsigned slot);  // bytes that may stay, now

// Whether hashing pays for a program. Training changes nearly everything in every step; then two evictions in a row
// that found next to nothing unchanged make the next ones copy without asking, until it is tried again.
class Habit {
 public:
  bool worth_hashing();  // asked once for each eviction
  void note(unsigned judged, unsigned unchanged);

 private:
  unsigned changed_rounds_ = 0, rounds_to_skip_ = 0;
};

class Eviction {
 public:
  // `hasher` null: every chunk is copied.
  Eviction(unsigned slot, Target target, Engine& engine, Hasher* hasher, Habit& habit);
  Overdue run();

 private:
  using Chunk = ledger::Chunk;

  Chunk* choose(const Locked&, std::uint64_t deficit);
  bool examine_next();
  bool copy_next_piece();
  bool begin_copy();
  void judge_oldest();
  void judge(const Locked&, Chunk&, const Digest&);
  void settle_oldest_move();
  void land_oldest_piece();
  bool place_for(const Locked&, Chunk&);
  bool unwanted(const Locked&, const Chunk&) const;
  bool others_may_do(const Locked&) const;
  void leave(const Locked&, Chunk&);
  void stay(const Locked&, Chunk&);

  unsigned slot_;
  Target target_;
  Hasher* hasher_;
  Habit& habit_;
  std::uint32_t round_;  // this eviction's number
  Candidates candidates_;
  std::uint64_t unchanged_left_ = 0;  // bytes that are present, not chosen yet, and probably unchanged
  Moves moves_;
  Ring<Chunk*, Hasher::depth> examined_;  // their hashes are under way; the place is the ticket
  Ring<Chunk*, Hasher::depth> waiting_;   // to be copied
  unsigned judged_ = 0, unchanged_ = 0;
  Overdue failure_ = Overdue::none;
};

}  // namespace lull::residency

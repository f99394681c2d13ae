// shim/restoration.h: one restore (residency.h), as far as the quota allows. The mover's thread only.
#pragma once
#include "protocol/words.h"
#include "shim/eviction.h"
#include "shim/hasher.h"
#include "shim/moves.h"
#include "shim/vmm.h"

namespace lull::residency {

class Restoration {
 public:
  // `hasher` null: what has arrived is not looked at again.
  Restoration(unsigned slot, Target quota, Engine& engine, Hasher* hasher);
  Overdue run();

 private:
  using Chunk = ledger::Chunk;

  Chunk* choose(const Locked&);
  bool map_next();
  bool copy_next_piece();
  void land_oldest_piece();
  void settle_oldest_move();
  void prove_oldest();
  void arrive(Chunk&);
  void take_back(Chunk&);
  bool unwanted(const Locked&) const;
  void recall_the_rest();

  unsigned slot_;
  Target quota_;
  Hasher* hasher_;
  Candidates candidates_;
  Moves moves_;
  Ring<Chunk*, vmm::longest_run> mapped_;  // to be copied to
  Ring<Chunk*, Hasher::depth> proofs_;     // their hashes are under way; the place is the ticket
  Overdue failure_ = Overdue::none;
};

}  // namespace lull::residency

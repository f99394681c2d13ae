// shim/candidates.h: the best few of a card's chunks, in order, found in one pass: with thousands of chunks a pass for
// each would cost more than copying them. The mover's thread only.
#pragma once
#include "shim/ledger.h"

namespace lull::residency {

class Candidates {
 public:
  explicit Candidates(unsigned slot) : slot_(slot) {}

  // The next of them while `still` holds of it; else, or when chunks have come or gone, the best of a new pass over
  // those of which `may` holds. Null: none.
  template <class Still, class May, class Better>
  ledger::Chunk* next(const Locked& locked, Still still, May may, Better better) {
    if (version_ == ledger::version(locked, slot_) && next_ < count_ && still(*best_[next_])) return best_[next_++];
    version_ = ledger::version(locked, slot_);
    count_ = 0;
    next_ = 1;
    for (ledger::Chunk* chunk : ledger::chunks(locked, slot_))
      if (may(*chunk)) add(chunk, better);
    return count_ > 0 ? best_[0] : nullptr;
  }

  void not_taken() { --next_; }  // the one that next() gave will be given again

 private:
  static constexpr unsigned most = 64;

  template <class Better>
  void add(ledger::Chunk* chunk, Better better) {
    unsigned at = count_;
    while (at > 0 && better(*chunk, *best_[at - 1])) --at;
    if (at == most) return;
    if (count_ < most) ++count_;
    for (unsigned i = count_ - 1; i > at; --i) best_[i] = best_[i - 1];
    best_[at] = chunk;
  }

  unsigned slot_;
  ledger::Chunk* best_[most] = {};
  unsigned count_ = 0, next_ = 0;
  std::uint64_t version_ = 0;
};

}  // namespace lull::residency

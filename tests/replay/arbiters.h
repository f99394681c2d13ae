// tests/replay/arbiters.h: who decides: Lull's policy, and what it is compared with.
#pragma once
#include "tests/replay/machine.h"

namespace lull::replay {

// The policy of the broker, as it is.
class Ours : public Arbiter {
 public:
  void decide(policy::State&, Time now) override;
  Time wake_at() const override { return wake_at_; }

 private:
  policy::Decisions decisions_;
  Time wake_at_ = policy::never;
};

// A lock on the whole card, first come, first served. Its holder gives it up to whoever waits when it has been idle for
// a while, or has had it for as long as a turn lasts. Memory moves as with Lull, so that only the order differs.
class Lock : public Arbiter {
 public:
  struct Turn {
    Time idle, trainer, service;  // the longest, counted from when the memory is there
  };
  explicit Lock(Turn turn) : turn_(turn) {}
  void decide(policy::State&, Time now) override;
  Time wake_at() const override { return wake_at_; }

 private:
  bool passed(Time since, Time duration, Time now);
  bool gives_up(const policy::Client&, Time now);
  void pass(policy::State&, Time now);
  void make_room(policy::State&, policy::Client& holder, Time now) const;

  Turn turn_;
  Time wake_at_ = policy::never;
};

// Released after each piece of work: a request, or a second of training.
Lock fifo_lock();
// A peer's: 30 s each, given back early by who is found idle every 5 s.
Lock quantum_of_30s();

// What somebody loses who knows when the next request will come, so that between two of them the card is kept, idle, or
// given back and fetched again, whichever is less; but who moves nothing for a request before it is there. Seconds in
// which nothing computes, and seconds in which requests wait. 0 without a trainer.
double clairvoyant_cost(const Trace&);

}  // namespace lull::replay

// broker/switches.h: what each hand-over of a card took, phase by phase.
//
//   seen ─ closed ─ drained ─ evicted ─ restored ─ opened ─ first kernel ─ … ─ ended
//
// Times are CLOCK_MONOTONIC; `seen` and `first_kernel` are taken where they happen (kernel, client), the others when
// the broker does or notices them. 0: has not happened, or there was nothing to do.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "broker/phase_book.h"
#include "broker/policy.h"
#include "broker/seat.h"

namespace lull {

struct Switch {
  std::uint64_t id = 0;
  std::vector<Who> from;  // whose gates were closed for it
  Who to;
  Reason reason = Reason::none;
  policy::Bytes evicted_bytes = 0, restored_bytes = 0;
  policy::Time seen = 0, closed = 0, drained = 0, evicted = 0, restored = 0, opened = 0, first_kernel = 0, ended = 0;
  policy::Time predicted = 0;  // of moving memory, by what was measured of the card; 0: unknown, or nothing to move
  bool told = false;           // handed out already

  // From the end of draining until all memory is where it has to be; 0: nothing has moved, or it is not over.
  policy::Time moved() const;
  bool preemption() const;  // took the card from somebody of a lower class
};

// The clients of a GPU, side by side.
struct Table {
  const std::vector<policy::Client>& clients;
  const std::vector<Seat>& seats;
};

class Switches {
 public:
  static constexpr std::size_t kept = 1000;

  void begin(const Who& to, Reason, policy::Time seen, policy::Time now);  // it takes the lease
  void end(policy::ClientId, policy::Time now);                            // it has lost it
  void close(policy::Time now);                                            // whoever has it
  void settle(const Table&);                     // after the decisions that began it are applied
  void observe(const Table&, policy::Time now);  // after the pages were read

  void predict(policy::Time moving);                     // of the one that has just begun
  policy::Time predicted() const { return predicted_; }  // the last that was not 0

  // Prediction against reality, of all switches that had both.
  struct Record {
    std::uint64_t switches = 0;
    policy::Time predicted = 0, moved = 0;  // in all
  };
  const Record& record() const { return record_; }
  const PhaseBook& phases() const { return phases_; }
  // How long clients of a class have had the card, from their gate's opening to the end of their lease.
  policy::Time held(Class, policy::Time now) const;

  // The present switch, once, when its first kernel has run or it has ended without.
  const Switch* news();
  const Switch* last() const { return history_.empty() ? nullptr : &history_.back(); }
  policy::Time spent(policy::Time from, policy::Time to) const;  // moving memory from one to another, in all
  std::uint64_t count() const { return count_; }
  std::uint64_t preemptions() const { return preemptions_; }
  policy::Time round_trip() const { return there_ && back_ ? there_ + back_ : 0; }

 private:
  Switch* present();
  void measure(const Switch&);
  void finish(Switch&, policy::Time now);

  struct Counted {
    policy::ClientId id;
    policy::Bytes evicted;
  };
  std::deque<Switch> history_;
  bool fresh_ = false;
  policy::Time closed_after_ = 0;  // gates closed since then were closed for the present switch
  std::vector<Counted> base_;      // what the victims had evicted before
  policy::Bytes restored_before_ = 0;
  std::uint64_t submissions_before_ = 0;
  std::uint64_t count_ = 0, preemptions_ = 0;
  policy::Time predicted_ = 0;
  Record record_;
  PhaseBook phases_;
  std::array<policy::Time, std::size(all_classes)> held_{};  // by those whose lease has ended
  policy::Time there_ = 0, back_ = 0;  // how long the last switches to a higher class and back took
};

}  // namespace lull

// broker/seat.h: one client on one GPU: carries decisions into the down page and turns what the up page says into the
// policy's picture of the client.
//
//   demand      `wants` is a count. A change is a thread that met a closed gate; it tells so once, however often the
//   gate
//               opens and closes before it gets through. So demand ends only with proof that the gate let somebody
//               pass.
//   quota       The largest quota a client may still be acting on is the largest sent since the one it says it has
//   seen.
//               A value sent twice would make that ambiguous, so a repeated one is told apart by a few bytes.
#pragma once
#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "broker/pages.h"
#include "broker/policy.h"
#include "broker/request_kinds.h"
#include "protocol/result.h"

namespace lull {

struct Who {
  policy::ClientId id = 0;
  int pid = 0;
  unsigned uid = 0;
  Class klass = Class::training;
  std::string tenant;
};

class Seat {
 public:
  // Both pages outlive the seat.
  Seat(Who who, DownWriter& down, const UpGpu& up, unsigned slot)
      : who_(std::move(who)), down_(&down), up_page_(&up), slot_(slot) {}

  // Loads the up page. The error names a word that no honest client writes.
  Status read(policy::Client&, const policy::Rules&, policy::Bytes card, policy::Time now);
  bool changed() const { return changed_; }  // by the last read, or may have: something waits for time to pass

  // Writes to the down page what the decision has changed in the client (`before`: as it was).
  void send(const policy::Client& before, const policy::Client& after, const policy::Decision&, policy::Time now);
  void send_admit(std::optional<policy::Bytes>);
  void send_piece(policy::Bytes bytes) { down_->piece(slot_, bytes); }
  void offer_native_room() { down_->native_room(slot_, 0); }  // none yet, but it may ask
  void flush() { down_->flush(); }

  // Device memory the driver says the process holds beyond what it reports as resident.
  void measured(policy::Client& c, policy::Bytes native) {
    measured_native_ = native;
    c.native = native;
  }
  bool native_is_measured() const { return measured_native_.has_value(); }

  // A request of this service was seen by the kernel; `kind` (0: not known) has been proven to lead to GPU work or not.
  // True: it begins a new demand.
  bool arrived(policy::Client&, policy::Time at, KindId kind, bool proven);
  // Whether requests of these kinds have led to work on the GPU, since this was asked last.
  struct Outcome {
    KindId kind;
    policy::Time arrived;
    bool led_to_work;
  };
  std::vector<Outcome> take_outcomes() { return std::exchange(outcomes_, {}); }
  void begin_demand(policy::Time at) { demand_since_ = last_demand_ = at; }
  policy::Time take_demand_since(policy::Time now);  // when what now gets the lease began; resets it

  const Who& who() const { return who_; }
  const UpWords& up() const { return up_; }
  policy::Time paused_ns(const policy::Client&, policy::Time now) const;  // gate closed, in all
  policy::Bytes evicted() const { return up_.evicted - first_.evicted; }  // since it is attached
  policy::Bytes restored() const { return up_.restored - first_.restored; }
  std::optional<policy::Bytes> admit() const { return admit_; }

 private:
  policy::Bytes believed_native(policy::Bytes card) const;
  void read_quota(policy::Client&);
  void read_demand(policy::Client&, const policy::Rules&, const UpWords& before, policy::Time now);
  void read_progress(policy::Client&, const policy::Rules&, const UpWords& before, policy::Time now);
  void send_quota(const policy::Client&);
  static void note_gap(policy::Client&, policy::Time now);

  struct Sent {
    std::uint64_t word;  // quota_plus_1 as it stands in the page
    policy::Bytes bytes;
  };
  Who who_;
  DownWriter* down_;
  const UpGpu* up_page_;
  unsigned slot_;
  UpWords up_, first_;
  bool read_before_ = false, changed_ = true;
  std::deque<Sent> sent_;  // from the one last seen (if any) to the last
  std::optional<policy::Bytes> admit_;
  std::optional<policy::Bytes> measured_native_;
  policy::Time demand_since_ = 0, last_demand_ = 0;
  policy::Time paused_ns_ = 0;
  struct Asked {
    policy::Time at = 0;  // 0: nothing that waits for its outcome
    KindId kind = 0;
    bool mixed = false;  // requests of several kinds at once: which of them led to work, nobody can tell
  };
  void tell_outcome(bool led_to_work);
  Asked asked_;
  std::vector<Outcome> outcomes_;
};

}  // namespace lull

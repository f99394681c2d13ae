#include "broker/seat.h"

#include <algorithm>

namespace lull {
namespace {

using policy::Time;
constexpr std::size_t most_sent = 64;              // beyond it the oldest are merged: a client that has stopped reading
constexpr Time demand_gap = policy::second;        // signs of demand further apart than this are two demands
constexpr Time proof_window = 5 * policy::second;  // GPU work this soon after an arrival was caused by it

bool working_for_present_gate(const policy::Client& c) {
  return c.seen_gate == c.gate && c.phase.generation == c.gate.generation;
}

}  // namespace

Status Seat::read(policy::Client& c, const policy::Rules& rules, policy::Bytes card, Time now) {
  const auto words = read_up(*up_page_, {c.gate.generation, card, now});
  if (!words) return words.error();
  const bool waits = c.wants || c.interrupted || c.loading || asked_.at != 0;
  changed_ = !read_before_ || waits || *words != up_;
  if (!changed_) return Done{};
  const UpWords before = read_before_ ? up_ : *words;
  up_ = *words;
  if (!read_before_) {  // counts of an earlier broker's time are no news
    first_ = up_;
    read_before_ = true;
    c.wants = up_.wants != 0;
    if (c.wants) c.wants_since = now;
  }
  c.seen_gate = up_.seen_gate;
  c.phase = up_.phase;
  c.resident = up_.resident;
  c.needed = up_.needed;
  c.native = believed_native(card);
  c.native_wanted = up_.native_wanted;
  read_quota(c);
  read_demand(c, rules, before, now);
  read_progress(c, rules, before, now);
  return Done{};
}

// NVML's word, once it has named the process. A claim alone takes memory from others, so it is believed up to a share.
policy::Bytes Seat::believed_native(policy::Bytes card) const {
  return measured_native_ ? *measured_native_ : std::min<policy::Bytes>(up_.native, card / 16);
}

void Seat::read_quota(policy::Client& c) {
  const auto seen =
      std::find_if(sent_.rbegin(), sent_.rend(), [&](const Sent& s) { return s.word == up_.seen_quota_plus_1; });
  if (seen != sent_.rend()) sent_.erase(sent_.begin(), seen.base() - 1);
  c.quota_high = 0;
  for (const Sent& sent : sent_) c.quota_high = std::max(c.quota_high, sent.bytes);
}

void Seat::read_demand(policy::Client& c, const policy::Rules& rules, const UpWords& before, Time now) {
  if (up_.wants != before.wants && c.gate.state != GateState::open && !c.wants) {
    policy::note_busy(c, rules, now);
    c.wants = true;
    c.wants_since = now;
    if (c.waiting == 0 && now - std::min(now, last_demand_) > demand_gap) {
      demand_since_ = now;
      note_gap(c, now);
    }
    last_demand_ = now;
  }
  if (c.wants && c.gate.state == GateState::open && c.seen_gate == c.gate) {
    const bool passed = up_.first_pass >= c.gate_since;
    const bool nobody_left = now - c.gate_since > policy::second && c.resident >= c.needed;
    if (passed || nobody_left) c.wants = false;
  }
  if (up_.interrupted != before.interrupted && !c.interrupted) {
    c.interrupted = true;
    c.interrupted_since = now;
  }
}

void Seat::read_progress(policy::Client& c, const policy::Rules& rules, const UpWords& before, Time now) {
  if (up_.submissions != before.submissions) {
    policy::note_busy(c, rules, now);
    c.last_submission = now;
  }
  if (c.resident < c.needed)
    c.whole_since = 0;
  else if (c.whole_since == 0)
    c.whole_since = now;
  const bool stopped =
      c.phase.phase == Phase::drained || c.phase.phase == Phase::moving || c.phase.phase == Phase::ready;
  if (c.gate.state == GateState::closed && working_for_present_gate(c) && stopped) c.overdue_count = 0;
  if (c.interrupted && c.exit_grace_spent >= rules.exit_grace) c.interrupted = false;
  if (asked_.at == 0) return;
  const bool soon = now - std::min(now, asked_.at) < proof_window;
  if (!soon && c.waiting != 0) return;  // it is being answered, however long that takes
  const bool works = c.wants || c.last_submission > asked_.at;
  if (!works && soon) return;
  c.proven = c.proven || (works && soon);
  tell_outcome(works && soon);
}

void Seat::send(const policy::Client& before, const policy::Client& after, const policy::Decision& decision, Time now) {
  if (before.gate != after.gate) {
    if (before.gate.state == GateState::closed) paused_ns_ += now - std::min(now, before.gate_since);
    down_->gate(slot_, after.gate);
  }
  if (before.reason != after.reason) down_->reason(slot_, after.reason);
  if (before.drain_limit_us != after.drain_limit_us) down_->drain_limit_us(slot_, after.drain_limit_us);
  if (before.native_given != after.native_given) down_->native_room(slot_, after.native_given);
  if (before.native_refused != after.native_refused) down_->native_refused(slot_, after.native_refused);
  if (std::holds_alternative<policy::SetQuota>(decision) && before.quota != after.quota) send_quota(after);
}

void Seat::send_quota(const policy::Client& c) {
  auto bytes = *c.quota;
  const auto pending = [&](std::uint64_t word) {
    return std::any_of(sent_.begin(), sent_.end(), [&](const Sent& s) { return s.word == word; });
  };
  while (pending(pack_limit(bytes))) ++bytes;  // far below the smallest piece of memory that can move
  if (sent_.size() >= most_sent) {
    sent_[1].bytes = std::max(sent_[0].bytes, sent_[1].bytes);
    sent_.pop_front();
  }
  sent_.push_back({pack_limit(bytes), *c.quota});
  down_->quota(slot_, bytes);
}

void Seat::send_admit(std::optional<policy::Bytes> limit) {
  if (limit == admit_) return;
  admit_ = limit;
  down_->admit(slot_, limit);
}

// Since its last work on the GPU (probes come in between); a service that has not worked yet has had no gap.
void Seat::note_gap(policy::Client& c, Time now) {
  if (c.last_submission != 0 && c.last_submission < now) policy::note_gap(c.gaps, now - c.last_submission);
}

void Seat::tell_outcome(bool led_to_work) {
  constexpr std::size_t most_untold = 64;
  if (asked_.kind != 0 && !asked_.mixed && outcomes_.size() < most_untold)
    outcomes_.push_back({asked_.kind, asked_.at, led_to_work});
  asked_ = {};
}

// `proven` of the client is that of its requests in flight: a probe that nobody has named must not look like the
// request before it.
bool Seat::arrived(policy::Client& c, Time at, KindId kind, bool proven) {
  const bool fresh = c.waiting == 0 && !c.wants;
  c.last_arrival = std::max(c.last_arrival, at);
  if (c.waiting == 0 && asked_.at != 0 && asked_.kind != kind) tell_outcome(false);  // answered without work
  if (asked_.at == 0)
    asked_ = {at, kind, false};
  else if (asked_.kind != kind)
    asked_.mixed = true;
  if (kind != 0) c.proven = proven || (c.proven && c.waiting != 0);
  if (fresh) demand_since_ = at;
  if (fresh && c.proven) note_gap(c, at);
  last_demand_ = at;
  return fresh;
}

Time Seat::take_demand_since(Time now) {
  const Time since = std::exchange(demand_since_, 0);
  return since == 0 || since > now ? now : since;
}

Time Seat::paused_ns(const policy::Client& c, Time now) const {
  return paused_ns_ + (c.gate.state == GateState::closed ? now - std::min(now, c.gate_since) : 0);
}

}  // namespace lull

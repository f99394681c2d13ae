#include "broker/switches.h"

#include <algorithm>

namespace lull {
namespace {

using policy::Time;

std::size_t index_of(const Table& table, policy::ClientId id) {
  const auto at = std::find_if(table.clients.begin(), table.clients.end(), [id](const auto& c) { return c.id == id; });
  return static_cast<std::size_t>(at - table.clients.begin());  // one past the end: gone
}

bool drained(const policy::Client& c) {
  if (c.gate.state != GateState::closed) return true;  // let go of: nobody waits for it
  const auto p = c.phase.phase;
  return c.phase.generation == c.gate.generation && (p == Phase::drained || p == Phase::moving || p == Phase::ready);
}

void once(Time& time, bool happened, Time now) {
  if (time == 0 && happened) time = now;
}

}  // namespace

bool Switch::preemption() const {
  return std::any_of(from.begin(), from.end(), [this](const Who& w) { return w.klass < to.klass; });
}

policy::Time Switch::moved() const {
  const Time end = std::max(evicted, restored), begin = std::max(drained, closed);
  return restored && end > begin && begin ? end - begin : 0;
}

Switch* Switches::present() { return history_.empty() || history_.back().ended ? nullptr : &history_.back(); }

void Switches::begin(const Who& to, Reason reason, Time seen, Time now) {
  close(now);
  Switch next;
  next.id = ++count_;
  next.to = to;
  next.reason = reason;
  next.seen = std::min(seen, now);
  history_.push_back(std::move(next));
  if (history_.size() > kept) history_.pop_front();
  fresh_ = true;
  // A packet may close gates a little before it is known to need the lease; what was closed earlier was closed for
  // others.
  closed_after_ = std::max(seen, now - std::min(now, policy::second));
}

void Switches::predict(Time moving) {
  if (auto* s = present()) s->predicted = moving;
  if (moving != 0) predicted_ = moving;
}

void Switches::close(Time now) {
  if (auto* s = present()) finish(*s, now);
}

void Switches::end(policy::ClientId id, Time now) {
  if (auto* s = present(); s && s->to.id == id) finish(*s, now);
}

void Switches::finish(Switch& s, Time now) {
  s.ended = now;
  if (s.opened) held_[static_cast<std::size_t>(s.to.klass)] += now - std::min(now, s.opened);
}

Time Switches::held(Class klass, Time now) const {
  const Time before = held_[static_cast<std::size_t>(klass)];
  if (history_.empty()) return before;
  const auto& last = history_.back();
  const bool has_it = last.ended == 0 && last.opened != 0 && last.to.klass == klass;
  return has_it ? before + now - std::min(now, last.opened) : before;
}

void Switches::settle(const Table& table) {
  auto* s = present();
  if (!s || !fresh_) return;
  fresh_ = false;
  base_.clear();
  for (std::size_t i = 0; i < table.clients.size(); ++i) {
    const auto& c = table.clients[i];
    const auto& seat = table.seats[i];
    if (c.id == s->to.id) {
      restored_before_ = seat.restored();
      submissions_before_ = seat.up().submissions;
      if (c.gate.state == GateState::open) s->opened = std::max(c.gate_since, s->seen);
    } else if (c.gate.state == GateState::closed && c.gate_since >= closed_after_) {
      s->from.push_back(seat.who());
      s->closed = std::max(s->closed, c.gate_since);
      base_.push_back({c.id, seat.evicted()});
    }
  }
  if (s->preemption()) ++preemptions_;
}

void Switches::observe(const Table& table, Time now) {
  auto* s = present();
  if (!s) return;
  bool all_drained = !base_.empty(), all_evicted = !base_.empty();
  s->evicted_bytes = 0;
  for (const auto& victim : base_) {
    const auto i = index_of(table, victim.id);
    if (i == table.clients.size()) continue;  // gone: as drained and evicted as can be
    const auto& c = table.clients[i];
    all_drained = all_drained && drained(c);
    all_evicted = all_evicted && (!c.quota || c.resident <= *c.quota);
    s->evicted_bytes += table.seats[i].evicted() - victim.evicted;
  }
  once(s->drained, all_drained, now);
  once(s->evicted, all_drained && all_evicted && s->evicted_bytes > 0, now);
  const auto i = index_of(table, s->to.id);
  if (i == table.clients.size()) return;
  const auto& c = table.clients[i];
  const auto& seat = table.seats[i];
  s->restored_bytes = seat.restored() - restored_before_;
  once(s->restored, s->restored_bytes > 0 && c.resident >= c.needed, now);
  once(s->opened, c.gate.state == GateState::open, c.gate_since);
  if (s->first_kernel == 0 && s->opened) {
    if (seat.up().first_pass >= s->opened)
      s->first_kernel = seat.up().first_pass;
    else
      once(s->first_kernel, seat.up().submissions != submissions_before_, now);
  }
}

// From the closing of the others' gates until the newcomer's memory is there.
Time Switches::spent(Time from, Time to) const {
  Time sum = 0;
  for (auto s = history_.rbegin(); s != history_.rend() && (s->ended == 0 || s->ended > from); ++s) {
    const bool moves = s->restored_bytes > 0 || s->evicted_bytes > 0;
    const Time unfinished = s->ended ? s->ended : to;
    const Time end = s->restored || !moves ? std::max({s->opened, s->restored, s->evicted}) : unfinished;
    const Time begin = std::max(s->closed, from);
    if (s->closed && end > begin) sum += std::min(end, to) - begin;
  }
  return sum;
}

const Switch* Switches::news() {
  if (history_.empty() || fresh_) return nullptr;
  auto& s = history_.back();
  if (s.told || (s.first_kernel == 0 && s.ended == 0)) return nullptr;
  s.told = true;
  measure(s);
  return &s;
}

// The two ways of one hand-over: to a higher class, and back to where it came from.
void Switches::measure(const Switch& s) {
  phases_.add(s);
  if (s.predicted != 0 && s.moved() != 0) {
    ++record_.switches;
    record_.predicted += s.predicted;
    record_.moved += s.moved();
  }
  if (s.closed == 0 || s.first_kernel == 0) return;
  const Time took = std::max({s.opened, s.restored, s.evicted, s.closed}) - s.closed;
  (s.preemption() ? there_ : back_) = took;
}

}  // namespace lull

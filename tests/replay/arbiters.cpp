#include "tests/replay/arbiters.h"

#include <algorithm>

namespace lull::replay {

using policy::Client;
using policy::never;
using policy::second;
using policy::State;

void Ours::decide(State& state, Time now) {
  policy::decide(state, now, decisions_);
  policy::remember(state, decisions_, now);
  wake_at_ = never;
  for (const auto& d : decisions_)
    if (const auto* wake = std::get_if<policy::WakeAt>(&d)) wake_at_ = wake->at;
}

Lock fifo_lock() { return Lock({50 * policy::ms, 1 * second, never}); }
Lock quantum_of_30s() { return Lock({5 * second, 30 * second, 30 * second}); }

bool Lock::passed(Time since, Time duration, Time now) {
  if (duration == never) return false;
  if (since + duration <= now) return true;
  wake_at_ = std::min(wake_at_, since + duration);
  return false;
}

bool Lock::gives_up(const Client& h, Time now) {
  if (h.whole_since == 0) return false;
  const Time since = std::max(h.lease_since, h.whole_since);
  if (passed(std::max(since, h.last_submission), turn_.idle, now)) return true;
  return passed(since, h.klass == Class::training ? turn_.trainer : turn_.service, now);
}

void Lock::pass(State& state, Time now) {
  Client *holder = nullptr, *first = nullptr;
  for (Client& c : state.clients) {
    if (c.lease_since != 0) holder = &c;
    if (c.lease_since == 0 && c.wants && (!first || c.wants_since < first->wants_since)) first = &c;
  }
  if (!first || (holder && !gives_up(*holder, now))) return;
  if (holder) policy::remember(*holder, policy::EndLease{holder->id, Reason::peer_turn}, now);
  policy::remember(*first, policy::TakeLease{first->id, Reason::request}, now);
}

void Lock::make_room(State& state, Client& holder, Time now) const {
  const Bytes native = state.gpu.native_reserve * state.clients.size();
  const Bytes room = state.gpu.capacity - state.gpu.headroom - native;
  Bytes others = 0;
  for (const Client& c : state.clients)
    if (&c != &holder) others += std::max(c.quota_high, c.resident);
  Bytes deficit = others + holder.needed > room ? others + holder.needed - room : 0;
  for (Client& c : state.clients) {
    if (&c == &holder || c.phase.phase != Phase::drained || c.seen_gate != c.gate) continue;
    const Bytes goes = std::min(std::max(c.quota_high, c.resident), deficit);
    deficit -= goes;
    const Bytes quota = std::min(std::max(c.quota_high, c.resident) - goes, c.resident);
    if (quota < *c.quota) policy::remember(c, policy::SetQuota{c.id, quota, Reason::peer_turn}, now);
  }
  others = 0;
  for (const Client& c : state.clients)
    if (&c != &holder) others += std::max(c.quota_high, c.resident);
  const Bytes quota = std::min(holder.needed, room - std::min(room, others));
  const bool worth = quota >= *holder.quota + state.gpu.chunk || (quota == holder.needed && quota > *holder.quota);
  if (worth) policy::remember(holder, policy::SetQuota{holder.id, quota, Reason::request}, now);
}

void Lock::decide(State& state, Time now) {
  wake_at_ = never;
  pass(state, now);
  for (Client& c : state.clients)
    if (c.lease_since == 0) policy::remember(c, policy::SetGate{c.id, GateState::closed, Reason::peer_turn}, now);
  for (Client& c : state.clients) {
    if (c.lease_since == 0) continue;
    make_room(state, c, now);
    policy::remember(c, policy::SetGate{c.id, GateState::open, Reason::request}, now);
  }
}

namespace {

// The least a card takes to pass from one tenant to another, in seconds: what of the second one's memory cannot have
// been there while the first one's was.
double passing(const Trace& trace, std::size_t from, std::size_t to) {
  if (from == to) return 0;
  const auto& a = trace.tenants[from];
  const auto& b = trace.tenants[to];
  const Bytes room = trace.memory - trace.headroom - trace.native * trace.tenants.size();
  const Bytes both = a.memory + b.memory;
  const double missing = both > room ? static_cast<double>(both - room) : 0;
  return missing / (trace.link * (a.changes() ? trace.both : 1));
}

double seconds(Time time) { return static_cast<double>(time) / second; }

}  // namespace

double clairvoyant_cost(const Trace& trace) {
  std::size_t trainer = trace.tenants.size();
  for (std::size_t t = trace.tenants.size(); t-- > 0;)
    if (trace.tenants[t].klass == Class::training) trainer = t;
  if (trainer == trace.tenants.size()) return 0;
  double cost = 0, free_from = 0;
  std::size_t holder = trainer;
  for (const Request& r : trace.requests) {
    if (r.probe) continue;
    double at = std::max(free_from, seconds(r.at));
    for (const Stage& s : r.stages) {
      const bool first = &s == &r.stages.front();
      const double direct = passing(trace, holder, s.tenant);
      // The card is idle meanwhile, and the request waits for it.
      const double fetched = passing(trace, holder, trainer) + 2 * passing(trace, trainer, s.tenant);
      const double kept = (first && holder != trainer ? at - free_from : 0) + 2 * direct;
      cost += first ? std::min(kept, fetched) : kept;
      at += direct + seconds(s.work);
      holder = s.tenant;
    }
    free_from = at;
  }
  if (holder != trainer)
    cost += std::min(passing(trace, holder, trainer), std::max(0.0, seconds(trace.until) - free_from));
  return cost;
}

}  // namespace lull::replay

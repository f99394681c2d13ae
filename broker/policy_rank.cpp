// broker/policy_rank.cpp: how much each client wants the card, and since when.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

constexpr Time seen_linger = 250 * ms;  // a shim tells of submissions every 100 ms
constexpr Time hint_lasts = 200 * ms;   // anybody can connect: it tightens the work in flight, and no more

bool first_load(const Client& c) { return c.loading && c.lease_ended == 0 && c.needed > c.resident; }
bool grows(const Item& i) { return i.open_now() && !i.let_go && i.c.quota && i.c.needed > *i.c.quota; }

Time last_activity(const Client& c) {
  const Time request = c.proven ? std::max(c.last_arrival, c.last_request_activity) : 0;
  return std::max({c.last_submission, c.lease_since, c.whole_since, request});
}

Level level_of(Class klass) {
  return klass == Class::inference     ? Level::inference
         : klass == Class::interactive ? Level::interactive
                                       : Level::training;
}

bool may_finish(Work& w, const Item& i) {
  const Client& c = i.c;
  if (!c.interrupted || c.exit_grace_spent >= w.rules.exit_grace) return false;
  if (!i.holds()) return !i.open_now() && (c.wants || c.interrupted_since > c.lease_ended);
  return c.lease_reason == Reason::exit_grace && !w.passed(c.lease_since, w.rules.exit_grace - c.exit_grace_spent) &&
         !idle_for(w, i, w.rules.linger_min);
}

// A request that shows no sign of life for this long holds nothing: a counter may be wrong, a stream may stay open.
bool in_flight(Work& w, const Client& c) {
  return c.waiting > 0 &&
         !w.passed(std::max({c.last_arrival, c.last_request_activity, c.last_submission}), w.rules.linger_max);
}

// An arrival wakes once: what it still wants after its lease has gone to a peer shows as a blocked submission.
bool proven_arrival(Work& w, const Item& i) {
  return i.c.proven && (i.holds() || i.c.last_arrival > i.c.lease_ended) && in_flight(w, i.c);
}

// `lull wake` and its like, from when they were said; a peer in between has had its turn after that.
bool woken(Work& w, const Item& i) {
  return (i.holds() || i.c.last_arrival > i.c.lease_ended) && !w.passed(i.c.wake_until, 0);
}

bool submits(Work& w, const Item& i) {
  return i.open_now() && i.c.last_submission != 0 && !w.passed(i.c.last_submission, w.rules.yield_idle);
}

bool service_demands(Work& w, const Item& i) {
  if (i.c.wants || i.lack > 0 || grows(i) || proven_arrival(w, i) || submits(w, i) || woken(w, i)) return true;
  return i.holds() && (!i.whole || in_flight(w, i.c));
}

Time linger(const Work& w, const Client& c) {
  if (c.loading) return w.rules.loading_linger;
  // Of a service whose requests are seen it is known when one is over. Of others only that they have submitted lately.
  const Time shortest = c.last_arrival != 0 ? std::min(w.rules.linger_min, seen_linger) : w.rules.linger_min;
  const Lingers lingers{w.rules.linger_min, w.rules.linger_max, shortest};
  return w.rules.keep_alive.value_or(best_linger(c.gaps, w.gpu.round_trip, lingers));
}

bool loads_too_long(Work& w, const Item& i) {
  const Time spent = i.c.loading_spent;
  if (spent >= w.rules.loading_max) return true;
  return i.holds() && w.passed(i.c.lease_since, w.rules.loading_max - spent);
}

void rank_service(Work& w, Item& i) {
  const Client& c = i.c;
  i.demands = service_demands(w, i) || first_load(c);
  if (!i.demands && !(i.holds() && !w.passed(last_activity(c), linger(w, c)))) return;
  if (!c.loading || proven_arrival(w, i))
    i.level = level_of(c.klass);
  else
    i.level = loads_too_long(w, i) ? Level::training : Level::loading;
}

// A trainer always wants to run, unless it has been idle: then its next submission says so.
void rank_trainer(Work& w, Item& i) {
  const Client& c = i.c;
  const bool runs = i.let_in() && !i.holds() && !w.passed(std::max(c.last_submission, c.gate_since), w.rules.min_hold);
  const bool ran = c.last_submission != 0 && c.gate_since < c.last_submission + w.rules.min_hold;
  const bool begins = c.last_submission == 0 && !i.whole;
  i.demands = c.wants || i.lack > 0 || grows(i) || runs;
  if (i.demands || i.holds())
    i.level = Level::training;
  else if (!i.let_in() && (ran || begins))
    i.level = Level::background;
}

Time waits_since(const Item& i) {
  const Client& c = i.c;
  if (i.level == Level::exit) return c.interrupted_since;
  if (i.level == Level::slice) return paused_since(c);
  if (i.level == Level::loading) return c.connected;
  if (i.level == Level::training && c.turn_spent != 0) return 0;  // resumes its turn
  const Time asked = c.wants ? c.wants_since : c.klass == Class::training ? c.connected : c.last_arrival;
  return std::max(asked, c.lease_ended);
}

void rank(Work& w, Item& i) {
  i.level = Level::none;
  i.demands = false;
  if (!may_want(w, i)) return;
  if (may_finish(w, i)) {
    i.level = Level::exit;
    i.demands = true;
  } else if (paused_by_owner(i)) {
    return;
  } else if (i.c.klass == Class::training) {
    rank_trainer(w, i);
  } else {
    rank_service(w, i);
  }
  if (i.order == Order::hold && i.level < Level::held) {
    i.level = Level::held;
    i.demands = true;
  }
  if (i.level != Level::none && i.level < Level::slice && slice_due(w, i)) {
    i.level = Level::slice;
    i.demands = true;
  }
  i.since = waits_since(i);
}

// Requests in flight that nothing has been done for yet, as the classes below them see them.
void watch_arrivals(Work& w) {
  w.comes = w.may_come = w.highest = Class::training;
  for (const Item& i : w.items()) {
    const Client& c = i.c;
    w.highest = std::max(w.highest, c.klass);
    if (c.klass == Class::training || paused_by_owner(i)) continue;
    if (c.klass > w.comes && !w.passed(c.last_hint, hint_lasts)) w.comes = c.klass;
    if (c.waiting == 0) continue;
    if (c.klass > w.comes && !w.passed(c.last_arrival, w.rules.linger_min)) w.comes = c.klass;
    const bool unproven = !c.proven && !c.loading;
    if (unproven && c.klass > w.may_come && !w.passed(c.last_arrival, w.rules.unproven_close)) w.may_come = c.klass;
  }
}

}  // namespace

bool may_want(Work& w, const Item& i) {
  if (i.too_big() || i.absent) return false;
  const bool stands_back = !i.holds() && i.c.lease_reason == Reason::overdue;
  return !stands_back || w.passed(i.c.lease_ended, gives_up);
}

bool idle_for(Work& w, const Item& i, Time duration) {
  return i.open_now() && i.whole && !i.c.wants && w.passed(last_activity(i.c), duration);
}

void rank(Work& w) {
  watch_arrivals(w);
  for (Item& i : w.items()) rank(w, i);
  agree(w);
}

}  // namespace lull::policy

// broker/policy_rank.cpp: what is true of each client, and how much it wants the card.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

// Sizes come from strangers; beyond this they are nonsense, and below it sums of them cannot overflow.
constexpr Bytes largest_size = Bytes{1} << 50;
constexpr Time seen_linger = 250 * ms;        // a shim tells of submissions every 100 ms
constexpr Time hint_lasts = 200 * ms;         // anybody can connect: it tightens the work in flight, and no more
constexpr Time answers_within = 10 * second;  // a shim looks every 100 ms; one that is silent this long is stopped

void tame(Client& c) {
  for (Bytes* size :
       {&c.resident, &c.needed, &c.native, &c.quota_high, &c.native_wanted, &c.native_given, &c.native_floor})
    *size = std::min(*size, largest_size);
}

bool answers_closed_gate(const Client& c) {
  return c.gate.state == GateState::closed && c.seen_gate == c.gate && c.phase.generation == c.gate.generation;
}

// A stopped program cannot use the card, whatever it asked for before. Once it has missed an earlier word it is not
// given another chance before it answers.
bool absent(Work& w, const Client& c) {
  const std::uint64_t missed = c.gate.generation - std::min(c.gate.generation, c.seen_gate.generation);
  if (missed == 0) return false;
  return (missed > 1 && c.gate.state == GateState::closed) || w.passed(c.gate_since, answers_within);
}

bool cannot_copy(const Client& c) {
  return answers_closed_gate(c) && c.phase.phase == Phase::overdue &&
         (c.phase.reason == Overdue::no_backing || c.phase.reason == Overdue::copy_failed);
}

void measure(Work& w, Item& i) {
  const Client& c = i.c;
  const Phase phase = c.phase.phase;
  i.quota.reset();
  i.gives_native = false;
  i.goal = std::max(c.needed, c.resident);
  i.whole = c.resident >= c.needed;
  // Memory moves only once it has drained, and what has moved stays drained while the gate stays closed.
  i.drained = answers_closed_gate(c) && (phase == Phase::drained || phase == Phase::moving || phase == Phase::ready);
  i.let_go = c.overdue_until != 0 && !w.passed(c.overdue_until, 0);
  i.absent = absent(w, c);
  i.fixed = c.unevictable || i.let_go || cannot_copy(c);
  i.settled = i.fixed ? c.resident : std::min(c.quota.value_or(c.resident), c.resident);
}

// Room is taken from others for it; so what cannot be seen to be used is believed up to a share of the card.
bool believable(const Item& i, const Gpu& gpu) {
  return native_charge(i.c, gpu) + i.lack - std::max(gpu.native_reserve, i.c.native) <= gpu.capacity / 16;
}

// `most`: what it may hold by the side of what no one can move. A restore that finds no memory although it may have it
// asks for room like that, too; when it cannot be given, the client does not fit.
void measure_native(const Work& w, Item& i, Signed most) {
  const Client& c = i.c;
  const bool restores = !i.whole;
  i.lack = c.native_wanted - std::min(c.native_wanted, c.native_given);
  i.refused = i.lack > 0 && (!believable(i, w.gpu) || static_cast<Signed>(c.needed + i.lack) > most);
  if (i.refused) i.lack = 0;
  i.whole = i.whole && i.lack == 0;
  const bool found_none = c.phase.phase == Phase::overdue && c.phase.reason == Overdue::no_device_memory;
  i.too_big = restores && (static_cast<Signed>(c.needed) > most || (i.refused && found_none));
}

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

bool stands_back(Work& w, const Item& i) {
  return !i.holds() && i.c.lease_reason == Reason::overdue && !w.passed(i.c.lease_ended, gives_up);
}

Time waits_since(const Item& i) {
  const Client& c = i.c;
  if (i.level == Level::exit) return c.interrupted_since;
  if (i.level == Level::loading) return c.connected;
  if (i.level == Level::training && c.turn_spent != 0) return 0;  // resumes its turn
  const Time asked = c.wants ? c.wants_since : c.klass == Class::training ? c.connected : c.last_arrival;
  return std::max(asked, c.lease_ended);
}

void rank(Work& w, Item& i) {
  i.level = Level::none;
  i.demands = false;
  if (i.too_big || i.absent || stands_back(w, i)) return;
  if (may_finish(w, i)) {
    i.level = Level::exit;
    i.demands = true;
  } else if (i.c.klass == Class::training) {
    rank_trainer(w, i);
  } else {
    rank_service(w, i);
  }
  i.since = waits_since(i);
}

// Requests in flight that nothing has been done for yet, as the classes below them see them.
void watch_arrivals(Work& w) {
  w.comes = w.may_come = w.highest = Class::training;
  for (const Item& i : w.items()) {
    const Client& c = i.c;
    w.highest = std::max(w.highest, c.klass);
    if (c.klass == Class::training) continue;
    if (c.klass > w.comes && !w.passed(c.last_hint, hint_lasts)) w.comes = c.klass;
    if (c.waiting == 0) continue;
    if (c.klass > w.comes && !w.passed(c.last_arrival, w.rules.linger_min)) w.comes = c.klass;
    const bool unproven = !c.proven && !c.loading;
    if (unproven && c.klass > w.may_come && !w.passed(c.last_arrival, w.rules.unproven_close)) w.may_come = c.klass;
  }
}

}  // namespace

Work::Work(const State& state, Time at) : gpu(state.gpu), rules(state.rules), now(at) {
  count = std::min(state.clients.size(), max_clients);
  for (std::size_t n = 0; n < count; ++n) {
    Item* item = std::construct_at(&storage[n]);
    item->c = state.clients[n];
    item->index = static_cast<std::uint32_t>(n);
    tame(item->c);
  }
}

bool idle_for(Work& w, const Item& i, Time duration) {
  return i.open_now() && i.whole && w.passed(last_activity(i.c), duration);
}

void measure(Work& w) {
  const auto size = [](Bytes bytes) { return static_cast<Signed>(std::min(bytes, largest_size)); };
  w.room = size(w.gpu.capacity) - size(w.gpu.headroom) - size(w.gpu.foreign);
  w.next = never;
  w.holder = nullptr;
  Signed held = 0, pinned = 0;
  for (Item& i : w.items()) {
    measure(w, i);
    w.room -= size(native_charge(i.c, w.gpu));
    held += size(i.held());
    if (i.c.unevictable) pinned += size(i.c.resident);
    if (i.holds()) w.holder = &i;
  }
  w.free = w.room - held;
  for (Item& i : w.items()) {
    const Signed own = i.c.unevictable ? size(i.c.resident) : 0;
    measure_native(w, i, w.room - pinned + own);
  }
  watch_arrivals(w);
}

void rank(Work& w) {
  for (Item& i : w.items()) rank(w, i);
}

}  // namespace lull::policy

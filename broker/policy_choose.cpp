// broker/policy_choose.cpp: who has the lease. The highest level; within it turns, first come first served.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

constexpr Time exit_wait = 2 * second;  // the longest a signal waits for a running request

// How long a holder may be idle, and how long it may be busy, before a waiting peer of its level gets the card.
struct Turn {
  Time idle, slice;
};

Turn turn_of(const Work& w, const Item& i) {
  const Rules& r = w.rules;
  const auto left = [](Time whole, Time spent) { return whole - std::min(whole, spent); };
  switch (i.level) {
    case Level::exit: return {r.linger_min, left(r.exit_grace, i.c.exit_grace_spent)};
    case Level::loading: return {r.loading_linger, left(r.loading_max, i.c.loading_spent)};
    case Level::inference:
    case Level::interactive: return {r.yield_idle, r.max_slice};
    default: return {r.min_hold, left(std::max(r.quantum, 50 * w.gpu.round_trip), i.c.turn_spent)};
  }
}

bool turn_over(Work& w, const Item& h) {
  const Turn turn = turn_of(w, h);
  if (idle_for(w, h, turn.idle)) return true;
  if (h.level == Level::exit) return w.passed(h.c.lease_since, turn.slice);
  if (h.whole && w.passed(std::max(h.c.lease_since, h.c.whole_since), turn.slice)) return true;
  return w.passed(h.c.lease_since, std::max(turn.slice, gives_up));
}

bool gives_way(Work& w, const Item& h, const Item& best) {
  if (best.level < h.level) return false;
  if (best.level == h.level) return !best.served() && turn_over(w, h);
  if (best.level == Level::exit && h.level >= Level::loading)
    return idle_for(w, h, w.rules.yield_idle) || w.passed(best.c.interrupted_since, exit_wait);
  if (best.level == Level::loading && h.level == Level::training) return w.passed(h.c.lease_since, w.rules.min_hold);
  return true;
}

// Who runs beside the holder needs no turn of its own; when there is no peer to run beside, it is left running.
bool comes_before(const Item& a, const Item& b, const Item* holder) {
  if (a.level != b.level) return a.level > b.level;
  if (a.served() != b.served()) return holder && holder->level == a.level ? b.served() : a.served();
  return a.since < b.since;
}

Item* best_waiting(Work& w) {
  Item* best = nullptr;
  for (Item& i : w.items()) {
    if (&i == w.holder || i.level == Level::none) continue;
    if (!best || comes_before(i, *best, w.holder)) best = &i;
  }
  return best;
}

Reason reason_for(const Work& w, const Item& i) {
  switch (i.level) {
    case Level::exit: return Reason::exit_grace;
    case Level::loading: return Reason::loading;
    case Level::inference:
    case Level::interactive: return Reason::request;
    default: return w.count == 1 ? Reason::only_tenant : Reason::lull;
  }
}

}  // namespace

bool stalled(Work& w, const Item& h) {
  return !h.whole && w.passed(std::max(h.c.lease_since, h.c.last_submission), gives_up);
}

Choice choose(Work& w) {
  Item* best = best_waiting(w);
  Item* h = w.holder;
  if (h && h->too_big()) return {best, best ? reason_for(w, *best) : Reason::none, h->misfit};
  if (!best || (h && !stalled(w, *h) && !gives_way(w, *h, *best))) return {h, Reason::none, Reason::none};
  if (h && stalled(w, *h)) return {best, reason_for(w, *best), Reason::overdue};
  const bool peers = h && h->level == best->level;
  return {best, reason_for(w, *best), peers ? Reason::peer_turn : reason_for(w, *best)};
}

}  // namespace lull::policy

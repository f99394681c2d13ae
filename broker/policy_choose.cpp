// broker/policy_choose.cpp: who has the lease. The highest level; within it turns, first come first served. A gang is
// one of many here, by its lead.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

constexpr Time exit_wait = 2 * second;  // the longest a signal, or a gang's slice, waits for a running request

// How long a holder may be idle, and how long it may be busy, before a waiting peer of its level gets the card.
struct Turn {
  Time idle, slice;
};

Turn turn_of(const Work& w, const Item& i) {
  const Rules& r = w.rules;
  const auto left = [](Time whole, Time spent) { return whole - std::min(whole, spent); };
  switch (i.level) {
    // One that is there for its gang's parts on other cards may have none of its own left.
    case Level::exit: return {r.linger_min, std::max(left(r.exit_grace, i.c.exit_grace_spent), r.gang_slice)};
    case Level::slice: return {r.linger_min, gives_up};
    case Level::loading: return {r.loading_linger, left(r.loading_max, i.c.loading_spent)};
    case Level::inference:
    case Level::interactive: return {r.yield_idle, r.max_slice};
    default: return {r.min_hold, left(std::max(r.quantum, 50 * w.gpu.round_trip), i.c.turn_spent)};
  }
}

Time last_whole(const Item& i) {
  Time last = 0;
  for (const Item* part = i.lead; part; part = part->next) last = std::max(last, part->c.whole_since);
  return last;
}

// For parts of its gang on other cards.
bool waits_elsewhere(const Item& h) { return h.c.gang_waits_since != 0; }
Time waits_elsewhere_since(const Item& h) { return std::max(h.c.lease_since, h.c.gang_waits_since); }

bool turn_over(Work& w, const Item& h) {
  const Turn turn = turn_of(w, h);
  const bool by_word = h.level == Level::held;  // until its owner's word is over
  if (!by_word && all_of(h, [&](const Item& part) { return idle_for(w, part, turn.idle); })) return true;
  if (h.level >= Level::slice) return w.passed(h.c.lease_since, turn.slice);
  if (h.c.lease_reason == Reason::gang_slice) return true;  // it was given no more
  if (waits_elsewhere(h)) return h.c.gang_behind && w.passed(waits_elsewhere_since(h), turn.idle);
  if (by_word) return false;
  const Time began = h.c.gang_waited + std::max(h.c.lease_since, last_whole(h));
  if (all_whole(h) && w.passed(began, turn.slice)) return true;
  return w.passed(h.c.lease_since, std::max(turn.slice + h.c.gang_waited, gives_up));
}

// A stage that has answered its requests has nothing more to do for the one that the next stage waits for.
bool stage_over(const Work& w, const Item& h, const Item& best) {
  if (!same_pipeline(w, best) || !all_of(h, [](const Item& part) { return part.c.waiting == 0; })) return false;
  return !all_of(h, [&](const Item& part) { return part.c.last_request_activity <= h.c.lease_since; });
}

bool gives_way(Work& w, const Item& h, const Item& best) {
  if (best.level < h.level) return false;
  if (best.level == h.level) return !served(best) && !best.c.gang_behind && (stage_over(w, h, best) || turn_over(w, h));
  if (best.level >= Level::slice && h.level >= Level::held)
    return idle_for(w, h, w.rules.yield_idle) || w.passed(best.since, exit_wait);
  if (best.level == Level::loading && h.level == Level::training) return w.passed(h.c.lease_since, w.rules.min_hold);
  return true;
}

// Who runs beside the holder needs no turn of its own; when there is no peer to run beside, it is left running.
bool comes_before(const Item& a, const Item& b, const Item* holder) {
  if (a.level != b.level) return a.level > b.level;
  if (a.c.gang_behind != b.c.gang_behind) return b.c.gang_behind;
  if (served(a) != served(b)) return holder && holder->level == a.level ? served(b) : served(a);
  return a.since < b.since;
}

Item* best_waiting(Work& w) {
  Item* best = nullptr;
  for (Item& i : w.items()) {
    if (i.lead != &i || &i == w.holder || i.level == Level::none) continue;
    if (!best || comes_before(i, *best, w.holder)) best = &i;
  }
  return best;
}

Reason reason_for(const Work& w, const Item& i) {
  switch (i.level) {
    case Level::exit: return Reason::exit_grace;
    case Level::slice: return Reason::gang_slice;
    case Level::loading: return Reason::loading;
    case Level::held: return Reason::owner_hold;
    case Level::inference:
    case Level::interactive: return Reason::request;
    default: return w.count == 1 ? Reason::only_tenant : Reason::lull;
  }
}

}  // namespace

bool stalled(Work& w, const Item& h) {
  const auto lacks = [&](const Item& part) {
    return !part.whole && w.passed(std::max(h.c.lease_since, part.c.last_submission), gives_up);
  };
  if (!all_of(h, [&](const Item& part) { return !lacks(part); })) return true;
  // Two turns: whoever has the other card may have got its memory late.
  return waits_elsewhere(h) && w.passed(waits_elsewhere_since(h), std::max(gives_up, 2 * turn_of(w, h).slice));
}

Choice choose(Work& w) {
  Item* best = best_waiting(w);
  Item* h = w.holder;
  if (h && kept_off(*h)) return {best, best ? reason_for(w, *best) : Reason::none, owners_reason(*h)};
  if (h && h->too_big()) return {best, best ? reason_for(w, *best) : Reason::none, h->misfit};
  if (!best || (h && !stalled(w, *h) && !gives_way(w, *h, *best))) return {h, Reason::none, Reason::none};
  if (h && stalled(w, *h)) return {best, reason_for(w, *best), Reason::overdue};
  const bool peers = h && h->level == best->level;
  return {best, reason_for(w, *best), peers ? Reason::peer_turn : reason_for(w, *best)};
}

}  // namespace lull::policy

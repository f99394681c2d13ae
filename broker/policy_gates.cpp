// broker/policy_gates.cpp: whose gate is open, and why each client is as it is.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

// An unproven arrival may close a gate again only when this many times unproven_close have gone by: at most 1 % lost.
constexpr Time unproven_share = 100;
constexpr Time longest_let_go = 60 * second;

bool closed_for_maybe(Work& w, const Item& i) {
  if (i.c.klass >= w.may_come) return false;
  const Time close = w.rules.unproven_close;
  if (i.open_now()) return w.passed(i.c.gate_since, (unproven_share - 1) * close);
  return i.c.gate.state == GateState::closed && !w.passed(i.c.gate_since, close);
}

// The service of a higher class for whose work this client stands aside although it fits.
const Item* paused_for(const Work& w, const Item& i) {
  return !w.has_card(i) && i.level < Level::slice && w.at_work && w.at_work->c.klass > i.c.klass ? w.at_work : nullptr;
}

// A client that was let go runs on the card; unless everything fits, nobody is let in beside it.
bool somebody_stays_in(Work& w, const Item& h) {
  const bool has_room = h.whole || static_cast<Signed>(h.goal) - static_cast<Signed>(h.held()) <= w.free;
  return !has_room &&
         std::any_of(w.items().begin(), w.items().end(), [&](const Item& i) { return i.let_go && !i.seated; });
}

bool has_memory(Work& w, const Item& i) {
  if (i.whole || i.entitled || i.quota_or_resident() >= i.goal) return true;
  const auto lacks = [](const Item& e) { return e.entitled && e.quota_or_resident() < e.goal; };
  if (std::any_of(w.items().begin(), w.items().end(), lacks)) return false;
  return static_cast<Signed>(i.goal) - static_cast<Signed>(i.held()) <= w.free;
}

bool may_open(Work& w, const Item& i) {
  if (!i.seated || paused_for(w, i)) return false;
  if (w.has_card(i)) return i.open_now() || !somebody_stays_in(w, i);
  if (paused_by_owner(i)) return false;  // a signal gives it a turn, not a place beside others
  return has_memory(w, i);
}

bool opens(Work& w, Item& i) {
  i.for_a_moment = false;
  if (i.let_go) return true;
  if (!may_open(w, i)) return false;
  i.for_a_moment = closed_for_maybe(w, i);
  return !i.for_a_moment;
}

// Work that does not end by itself behind a closed gate: a thread may wait for another that is not let in.
bool must_let_go(const Item& i) {
  const Client& c = i.c;
  if (i.open || c.gate.state != GateState::closed || c.phase.generation != c.gate.generation) return false;
  if (c.phase.phase != Phase::overdue) return false;
  return c.phase.reason == Overdue::thread_inside || c.phase.reason == Overdue::capture_open ||
         (c.phase.reason == Overdue::stream_busy && i.evict > 0);
}

// One of a gang computes with the others: where its work does not end, it may be waiting for theirs.
void let_gangs_go(Work& w) {
  for (Item& lead : w.items()) {
    if (lead.lead != &lead || all_of(lead, [](const Item& part) { return !part.let_go_now; })) continue;
    std::uint32_t failed = 0;
    for (const Item* part = &lead; part; part = part->next) failed = std::max(failed, part->c.overdue_count);
    const Time wait = std::min(w.rules.overdue_retry << std::min(failed, 20u), longest_let_go);
    for (Item* part = &lead; part; part = part->next) {
      part->let_go_now = part->let_go_now || (part->whole && !part->let_go && !part->open);
      part->let_go_until = w.now + wait;
    }
  }
}

// The card refused what had been promised: somebody whom the broker has not seen yet took it.
bool finds_no_memory(const Item& i) {
  return i.c.phase.phase == Phase::overdue && i.c.phase.reason == Overdue::no_device_memory &&
         i.c.phase.generation == i.c.gate.generation;
}

Reason waits_for_memory(Work& w, const Item& i) {
  if (finds_no_memory(i)) return Reason::blocked_by_foreign;
  const auto some = [&w](auto is) { return std::any_of(w.items().begin(), w.items().end(), is); };
  if (fills(w, i) && i.quota_or_resident() >= i.goal) return Reason::restoring;
  if (some([](const Item& v) { return v.let_go && !v.seated; })) return Reason::overdue;
  if (some([](const Item& v) { return v.evict > 0 && !v.drained; })) return Reason::draining;
  if (some([](const Item& v) { return v.evict > 0 || v.settled < v.c.resident; })) return Reason::evicting;
  return Reason::restoring;
}

Reason open_reason(Work& w, const Item& i) {
  if (!i.whole) return waits_for_memory(w, i);
  if (!w.has_card(i)) return w.count == 1 ? Reason::only_tenant : Reason::fits_beside;
  if (i.level == Level::exit) return Reason::exit_grace;
  if (i.level == Level::slice) return Reason::gang_slice;
  if (i.level == Level::loading) return Reason::loading;
  if (i.level == Level::held) return Reason::owner_hold;
  if (i.level >= Level::interactive) return i.demands ? Reason::request : Reason::lingering;
  return w.count == 1 ? Reason::only_tenant : Reason::lull;
}

Reason reason_of_holder(const Item& h) {
  if (!h.demands) return Reason::lingering;
  return h.level == Level::loading ? Reason::loading : Reason::request;
}

Reason closed_reason(Work& w, const Item& i) {
  if (kept_off(i)) return owners_reason(i);
  if (i.too_big()) return i.misfit;
  if (i.held_back) return i.whole ? Reason::gang_waits : open_reason(w, i);
  if (i.for_a_moment) return Reason::maybe_request;
  if (w.has_card(i)) return Reason::overdue;
  const Item* h = paused_for(w, i);
  if (!h) h = w.holder;
  if (!h) return Reason::restoring;  // nobody wants the card, and there is no room to bring its memory back
  if (h->level == Level::exit) return Reason::exit_grace;
  if (h->level == Level::slice) return Reason::gang_slice;
  if (h->level == Level::held) return Reason::owner_hold;
  if (h->c.klass == i.c.klass) return Reason::peer_turn;
  if (h->c.klass < i.c.klass) return i.level == Level::loading ? Reason::loading : Reason::lull;
  return i.c.klass == Class::training ? reason_of_holder(*h) : Reason::higher_class;
}

}  // namespace

void plan_gates(Work& w) {
  w.at_work = nullptr;
  for (const Class klass : {Class::inference, Class::interactive, Class::training}) {
    const Item* at_work = w.at_work;
    for (Item& i : w.items()) {
      if (i.c.klass != klass) continue;
      i.open = opens(w, i);
      if (!at_work && i.demands && (i.open || w.has_card(i))) at_work = &i;
    }
    w.at_work = at_work;
  }
  bool any = false;
  for (Item& i : w.items()) any = (i.let_go_now = must_let_go(i)) || any;
  if (any) let_gangs_go(w);
}

void plan_reasons(Work& w) {
  for (Item& i : w.items()) {
    if (i.let_go || i.let_go_now)
      i.reason = Reason::overdue;
    else
      i.reason = i.open ? open_reason(w, i) : closed_reason(w, i);
  }
}

}  // namespace lull::policy

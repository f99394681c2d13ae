// broker/policy_gangs.cpp: clients that run together or not at all, and tenants that a request uses one after another.
//
// On one card a gang is one of many that want it: one of its clients, the lead, stands for all of them where the lease
// is given; they fit, sit and are let in together. Of several cards each says how far its part is and what it wants
// (TellGang), and the broker tells it of the others (note_gang). So that no two gangs wait for one another,
// cards are taken in their order: who has no place on an earlier one (gang_behind) keeps nobody of its level waiting.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

Time last_lease(const Client& c) { return c.lease_since != 0 ? never : c.lease_ended; }

void link(Work& w, Item& first) {
  const auto in_gang = [&](const Item& i) { return i.c.gang == first.c.gang; };
  Item* lead = &first;
  for (Item& i : w.items())
    if (in_gang(i) && last_lease(i.c) > last_lease(lead->c)) lead = &i;
  Item* last = lead;
  lead->lead = lead;
  for (Item& i : w.items()) {
    if (!in_gang(i) || &i == lead) continue;
    i.lead = lead;
    last = last->next = &i;
  }
}

// A part that has not got all its memory yet is let in with the others, later; one that grows stays in.
bool may_run(const Item& i) { return i.let_go || i.let_go_now || (i.open && (i.whole || i.open_now())); }

// Other cards do not follow where a gate closes only for a moment.
Readiness readiness_of(const Item& i) {
  if (!(i.seated || i.let_go)) return Readiness::none;
  return all_of(i, [](const Item& part) { return may_run(part) || (part.for_a_moment && part.whole); })
             ? Readiness::ready
             : Readiness::seated;
}

}  // namespace

void find_gangs(Work& w) {
  if (!w.gangs) return;
  for (Item& i : w.items())
    if (!i.lead) link(w, i);
}

void share_lease(Work& w) {
  for (Item& i : w.items()) {
    if (i.lead == &i) continue;
    const Client& lead = i.lead->c;
    i.c.lease_since = lead.lease_since;
    i.c.lease_ended = lead.lease_ended;
    i.c.lease_reason = lead.lease_reason;
    i.c.exit_grace_spent = lead.exit_grace_spent;
    i.c.loading_spent = lead.loading_spent;
    i.c.turn_spent = lead.turn_spent;
  }
}

void agree(Work& w) {
  if (!w.gangs) return;
  for (Item& lead : w.items()) {
    if (lead.lead != &lead || lead.c.gang == 0) continue;
    const Item* first = &lead;
    bool demands = false;
    for (const Item* part = &lead; part; part = part->next) {
      const bool more = part->level > first->level;
      if (more || (part->level == first->level && part->since < first->since)) first = part;
      demands = demands || part->demands;
    }
    Level level = first->level;
    const Time since = first->since;
    const Level asks = demands ? level : Level::none;
    const bool may_follow = may_want(w, lead) && (!paused_by_owner(lead) || lead.c.gang_wants == Level::exit);
    if (may_follow && lead.c.gang_wants > asks) {
      level = std::max(level, lead.c.gang_wants);
      demands = true;
    }
    for (Item* part = &lead; part; part = part->next)
      part->level = level, part->since = since, part->demands = demands, part->asks = asks;
  }
}

Time paused_since(const Client& c) { return std::max(c.gate_since, c.lease_ended); }

// Programs that compute together watch one another, and give up when nothing has come from one for some minutes.
bool slice_due(Work& w, const Item& i) {
  const Client& c = i.c;
  if (c.gang == 0) return false;
  if (!i.holds()) return c.gate.state == GateState::closed && w.passed(paused_since(c), w.rules.max_pause);
  if (c.lease_reason != Reason::gang_slice) return false;
  return i.open_now() ? !w.passed(c.gate_since, w.rules.gang_slice) : !w.passed(c.lease_since, gives_up);
}

bool same_pipeline(const Work& w, const Item& i) {
  return i.c.pipeline != 0 && w.holder && !w.has_card(i) && i.c.pipeline == w.holder->c.pipeline;
}

void plan_gangs(Work& w) {
  if (!w.gangs) return;
  for (Item& i : w.items()) i.says = i.c.gang != 0 ? GangWord{readiness_of(i), i.asks} : GangWord{};
  for (Item& i : w.items()) {
    i.held_back = i.c.gang != 0 && i.open && (i.c.gang_waits_since != 0 || !all_of(i, may_run));
    if (i.let_go || i.let_go_now) i.held_back = false;
  }
  for (Item& i : w.items())
    if (i.held_back) i.open = false;
}

}  // namespace lull::policy

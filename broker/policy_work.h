// broker/policy_work.h: one pass of decide(), in five steps. Internal to the policy.
//
//   measure   what is true of each client: is it whole, drained, can its memory move
//   rank      what each wants, as a level, and since when
//   choose    who has the lease
//   seat      who has a place on the card beside the holder, and from whom the missing memory is taken
//   plan      gates, then quotas, then reasons
//
// Every comparison with the clock goes through Work::passed, which notes the next time at which an answer changes; so
// WakeAt is exact without a second description of the rules.
#pragma once
#include <algorithm>
#include <array>
#include <span>

#include "broker/policy.h"

namespace lull::policy {

using Signed = std::int64_t;

inline constexpr Time gives_up = 60 * second;  // a holder that cannot get its memory, and how long it stands back then

struct Item {
  Client c;             // a copy: decisions are remembered in it as they are made
  std::uint32_t index;  // order of connection
  Item* lead;           // of its gang: the one that has, or had last, the lease for all of them; else itself
  Item* next;           // of its gang, beginning with the lead
  // measure
  Class own_class;  // the class in `c` is the one it counts as now
  Bytes goal;       // what it holds when it is whole
  Bytes settled;    // what it will hold when it has done what was sent to it
  Bytes lack;       // of room for native memory: wanted, and not given yet
  bool refused;     // it wants more of that than it can be given
  bool whole, drained, let_go, fixed, absent;
  Order order;    // in effect now
  Reason misfit;  // why the card cannot give what it needs, however the others fare; none: it can
  // rank
  Level level;
  bool demands;  // wants the card now, rather than lingering on it
  Time since;    // first come, first served
  Level asks;    // with those of its gang on this card; without what others of it want
  // seat
  bool seated, entitled;  // has a place; memory may be taken from others for it
  Bytes evict;            // to be taken from it
  // plan
  bool open;
  bool for_a_moment;  // closed by a packet that may lead to nothing
  bool let_go_now;    // its drain has failed
  Time let_go_until;  // then
  bool held_back;     // it would be open, but for others of its gang
  GangWord says;
  std::optional<Bytes> quota;
  bool gives_native;  // what it lacks
  Reason reason;

  bool too_big() const { return misfit != Reason::none; }
  bool holds() const { return c.lease_since != 0; }
  bool open_now() const { return c.gate.state == GateState::open; }
  bool let_in() const { return c.gate.state != GateState::closed; }  // open, or not managed yet
  Bytes held() const { return std::max(c.quota_high, c.resident); }
  Bytes quota_or_resident() const { return quota ? *quota : c.quota.value_or(c.resident); }
  Time last_lease() const { return std::max(c.lease_since, c.lease_ended); }
};

struct Work {
  const Gpu& gpu;
  const Rules& rules;
  const Time now;
  Time next = never;  // when an answer of passed() changes
  Item* holder = nullptr;
  Signed room = 0;                // for what can move: capacity less headroom, foreign and native memory
  Signed free = 0;                // not charged to anybody
  Class comes = Class::training;  // a request for a service of this class is in flight and fresh: those below are armed
  Class highest = Class::training;   // of all clients
  Class may_come = Class::training;  // one that may lead to nothing has just arrived
  const Item* at_work = nullptr;     // of those that run and want to, one of the highest class; those below stand aside
  bool gangs = false;                // there are any
  std::size_t count = 0;
  std::array<std::uint16_t, max_clients> order;  // of seats; kept from pass to pass: most change little
  union {
    std::array<Item, max_clients> storage;
  };  // uninitialised beyond count

  Work(const State& state, Time at);
  ~Work() {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  std::span<Item> items() { return {storage.data(), count}; }
  bool has_card(const Item& i) const { return holder && i.lead == holder; }  // its gang has the lease
  // Whether `duration` has passed since `since`.
  bool passed(Time since, Time duration) {
    const Time due = duration > never - since ? never : since + duration;
    if (due != never && now >= due) return true;
    next = std::min(next, due);
    return false;
  }
};

// Those of a gang on this card; a client that is in none is one by itself.
template <class Condition>
bool all_of(const Item& i, Condition condition) {
  for (const Item* part = i.lead; part; part = part->next)
    if (!condition(*part)) return false;
  return true;
}
inline bool all_whole(const Item& i) {
  return all_of(i, [](const Item& part) { return part.whole; });
}
inline bool served(const Item& i) {
  return all_of(i, [](const Item& part) { return part.let_in() && part.whole; });
}

inline bool paused_by_owner(const Item& i) { return i.order >= Order::pause; }
inline Reason owners_reason(const Item& i) {
  return i.order == Order::release ? Reason::owner_release : Reason::owner_pause;
}
// ... and not on the card for a signal.
inline bool kept_off(const Item& i) { return paused_by_owner(i) && i.level != Level::exit; }

void measure(Work&);
void rank(Work&);
bool may_want(Work&, const Item&);                 // it fits, answers, and does not stand back
bool idle_for(Work&, const Item&, Time duration);  // on the card, for this long, with all its memory there

// It has the card and does not get its memory together: others go first, and it tries again later.
bool stalled(Work&, const Item& holder);

// The client that ought to have the lease, and why the present holder loses it.
struct Choice {
  Item* holder;
  Reason taken_for;
  Reason ended_for;
};
Choice choose(Work&);

// Gangs: policy_gangs.cpp.
void find_gangs(Work&);   // of those without a lead
void share_lease(Work&);  // it is the gang's, not one client's
void agree(Work&);        // a gang wants what the one of it wants that wants most
Time paused_since(const Client&);
bool slice_due(Work&, const Item&);  // it has been paused for too long, or has the card for that reason

// Whether it comes before or after the holder in a request. Of a pipeline one at a time has a claim to memory.
bool same_pipeline(const Work&, const Item&);

void seat(Work&);
void plan_gates(Work&);
void plan_quotas(Work&);
void plan_gangs(Work&);
void plan_reasons(Work&);
bool fills(const Work&, const Item&);  // has been given memory that it does not have yet

}  // namespace lull::policy

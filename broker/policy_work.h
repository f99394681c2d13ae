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

// What a client wants, lowest first.
enum class Level : std::uint8_t {
  none,
  background,  // a trainer that was running when it was paused, but is not known to wait
  training,
  loading,
  interactive,
  inference,
  exit,  // a signal waits behind its gate
};

struct Item {
  Client c;             // a copy: decisions are remembered in it as they are made
  std::uint32_t index;  // order of connection
  // measure
  Class own_class;  // the class in `c` is the one it counts as now
  Bytes goal;       // what it holds when it is whole
  Bytes settled;    // what it will hold when it has done what was sent to it
  Bytes lack;       // of room for native memory: wanted, and not given yet
  bool refused;     // it wants more of that than it can be given
  bool whole, drained, let_go, fixed, absent;
  Reason misfit;  // why the card cannot give what it needs, however the others fare; none: it can
  // rank
  Level level;
  bool demands;  // wants the card now, rather than lingering on it
  Time since;    // first come, first served
  // seat
  bool seated, entitled;  // has a place; memory may be taken from others for it
  Bytes evict;            // to be taken from it
  // plan
  bool open;
  bool let_go_now;  // its drain has failed
  std::optional<Bytes> quota;
  bool gives_native;  // what it lacks
  Reason reason;

  bool too_big() const { return misfit != Reason::none; }
  bool holds() const { return c.lease_since != 0; }
  bool open_now() const { return c.gate.state == GateState::open; }
  bool let_in() const { return c.gate.state != GateState::closed; }  // open, or not managed yet
  bool served() const { return let_in() && whole; }
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
  std::size_t count = 0;
  std::array<std::uint16_t, max_clients> order;  // of seats; filled by seat()
  union {
    std::array<Item, max_clients> storage;
  };  // uninitialised beyond count

  Work(const State& state, Time at);
  ~Work() {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  std::span<Item> items() { return {storage.data(), count}; }
  // Whether `duration` has passed since `since`.
  bool passed(Time since, Time duration) {
    const Time due = duration > never - since ? never : since + duration;
    if (due != never && now >= due) return true;
    next = std::min(next, due);
    return false;
  }
};

void measure(Work&);
void rank(Work&);
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

void seat(Work&);
void plan_gates(Work&);
void plan_quotas(Work&);
void plan_reasons(Work&);
bool fills(const Work&, const Item&);  // has been given memory that it does not have yet

}  // namespace lull::policy

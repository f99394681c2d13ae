// broker/arbiter.h: one GPU: keeps the policy's State of it, asks decide() and carries the decisions out.
//
//   refresh   pages → State          step   State → decide() → pages, switch records, audience
//
// A client whose socket is gone while its process lives still holds its memory, but no longer listens to us. It becomes
// a ghost: memory of a foreign program, until its process ends or connects again.
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "broker/chart.h"
#include "broker/config.h"
#include "broker/foreign.h"
#include "broker/gauge.h"
#include "broker/grace.h"
#include "broker/policy.h"
#include "broker/seat.h"
#include "broker/speed.h"
#include "broker/switches.h"
#include "broker/time_use.h"
#include "protocol/result.h"

namespace lull {

struct Card {
  Uuid uuid{};
  policy::Bytes memory = 0;
  CardSizes sizes;
  std::optional<std::size_t> nvml;  // its number there
  std::optional<unsigned> node;     // of the machine's memory that is nearest
  policy::Bytes total() const { return memory - sizes.slots * sizes.residue - sizes.headroom; }  // promised to programs
  policy::Bytes chunk() const;                                                                   // unit of eviction
};

// Who wants to know. Called from within step() and release().
class Audience {
 public:
  virtual ~Audience() = default;
  virtual void on_switch(const Card&, const Switch&) = 0;
  virtual void on_lease_end(const Card&, const Switch&) = 0;
  virtual void on_stuck(const Card&, const Who&, Reason) = 0;  // Reason::none: it has ended; no client: of the card
  virtual void on_overdue(const Card&, const Who&, Overdue) = 0;
  virtual void on_wish_over(const Card&, const Wish&) = 0;
  virtual void on_order_over(const Card&, const Who&, policy::Order) = 0;  // its time has passed
};

class Arbiter {
 public:
  Arbiter(const Card&, const policy::Rules&, Audience&);

  struct Arrival {
    Who who;
    DownWriter* down;
    const UpGpu* up;
    unsigned slot;
    bool loading, proven, unevictable;
    std::uint32_t gang = 0, pipeline = 0;  // numbers of those it belongs with
  };
  Status attach(const Arrival&, policy::Time now);
  void release(policy::ClientId, policy::Time now);  // its socket is gone
  void buried(int pid);                              // its process and all its memory are gone

  Status refresh(policy::ClientId, policy::Time now);
  // The same for all. `news`: of whoever has been refused memory since (null), or has written what is no word of ours.
  using News = std::function<void(const Seat&, const char* lie)>;
  void refresh_all(policy::Time now, const News& news);
  void step(policy::Time now);
  void step_if_due(policy::Time now);                // only if anything has changed since, or its time has come
  policy::Time wake_at() const { return wake_at_; }  // for the next step at the latest

  // Requests, as the kernel programs count them.
  void arrived(policy::ClientId, policy::Time at, KindId, bool proven);
  void connects(policy::ClientId, policy::Time at);                   // a weak hint: somebody may be about to ask
  void wake(policy::ClientId, policy::Time now, policy::Time until);  // somebody says so
  std::vector<Seat::Outcome> take_outcomes(policy::ClientId);
  void requests(policy::ClientId, std::uint32_t waiting, policy::Time last_activity);
  void loaded(policy::ClientId);

  void set_order(policy::ClientId, policy::Order, policy::Time until);  // its owner says so

  void hear(policy::ClientId, const policy::GangNews&, policy::Time now);  // of its gang's parts on other cards
  void regroup(policy::ClientId, std::uint32_t gang, std::uint32_t pipeline);

  void set_backing(policy::ClientId, policy::Bytes);
  void set_admit(policy::ClientId, std::optional<policy::Bytes>);
  void set_speed(CardSpeed);
  const std::optional<CardSpeed>& speed() const { return speed_; }
  policy::Bytes reserved_by(unsigned uid) const;  // for contexts of its training programs
  void set_rules(const policy::Rules& rules) { state_.rules = rules, changed_ = true; }
  bool changed() const { return changed_; }
  // What the clients hold by their own words, while none of them is moving.
  std::optional<policy::Bytes> quiet_mark() const;
  // Memory in use on the card, as NVML says. It is compared with what clients say only if that has not changed since
  // `quiet_mark` was asked for; else taken only if NVML itself says what each client holds.
  // Of a client that NVML names, what it holds beyond its resident memory is native (its context); of others, foreign.
  void set_used(const CardUse&, std::optional<policy::Bytes> quiet_mark);
  void open_what_is_whole(policy::Time now);  // the broker is about to stop

  // Room for programs without Lull (foreign.h); nothing: no longer. What cannot move, cannot make room.
  void set_wish(std::optional<Wish>);
  const std::optional<Wish>& wish() const { return wish_; }
  bool thrashing() const { return thrashing_; }  // more than half of the last minute went into switches
  policy::Bytes most_to_free() const;
  const std::vector<Stranger>& strangers() const { return strangers_; }  // largest first

  const Card& card() const { return card_; }
  const policy::State& state() const { return state_; }
  const policy::Client* client(policy::ClientId) const;  // null: not on this card
  const Seat* seat(policy::ClientId) const;
  const Switches& switches() const { return switches_; }
  const TimeUse& time_use() const { return time_use_; }
  const Chart& chart() const { return chart_; }
  policy::Bytes evicted_total() const;
  policy::Bytes restored_total() const;
  policy::Time paused_total(Class, policy::Time now) const;  // gates closed, of all clients of it that there have been
  Table table() const { return {state_.clients, seats_}; }

 private:
  struct Ghost {
    int pid;
    policy::Bytes bytes;
  };
  std::size_t place_of(policy::ClientId) const;  // where it is, or belongs: clients and seats are sorted by it
  std::size_t index(policy::ClientId) const;     // clients.size(): unknown
  policy::Client* change(policy::ClientId);
  void apply(const policy::Decision&, policy::Time now);
  void follow(const policy::Decision&, std::size_t index, policy::Time now);
  Status reread(std::size_t place, policy::Time now);
  void bound_claim(std::size_t place);
  void end_loading(policy::Client&, policy::Time now);
  void tell_news();
  policy::Time predict(const policy::Client& next) const;  // 0: not known
  bool names_all(const CardUse&) const;
  void recount_foreign();
  void note_strangers(const CardUse&);
  void note_thrashing(policy::Time now);
  void end_orders(policy::Time now);
  void share_grace(unsigned uid, policy::Time now);
  void forgive(policy::Time now);

  Card card_;
  Audience& audience_;
  policy::State state_;
  std::vector<Seat> seats_;  // side by side with state_.clients
  std::vector<Ghost> ghosts_;
  policy::Bytes foreign_seen_ = 0;  // by NVML, without ghosts
  policy::Time thrashing_looked_ = 0;
  bool thrashing_ = false;
  GraceDebts grace_;
  policy::Time forgive_at_ = 0;
  std::vector<Stranger> strangers_;
  std::optional<Wish> wish_;
  policy::Time orders_end_ = policy::never;  // the first of them
  policy::Decisions decisions_;
  policy::Time wake_at_ = policy::never;
  bool changed_ = true;  // since the last step
  Switches switches_;
  TimeUse time_use_;
  Chart chart_;
  std::optional<CardSpeed> speed_;                      // nothing: not measured yet
  policy::Bytes evicted_gone_ = 0, restored_gone_ = 0;  // by clients that have left
  std::array<policy::Time, std::size(all_classes)> paused_gone_{};
};

}  // namespace lull

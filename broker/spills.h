// broker/spills.h: evicted data that host memory has no room for goes to disk, arena by arena (docs/memory.md).
//
//   client            broker                         spiller (a thread, and helper processes)
//   parked  ────────▶ saving ──────────────────────▶ memory to file; read again; the same?
//           ◀──────── offered (spilled, with the file)
//   kept    ────────▶ away ────────────────────────▶ memory punched out: room for others
//   recalled ───────▶ filling (or when the client gets the card) ▶ file to memory; the same sum?
//           ◀──────── back (filled)
//   resumed ────────▶ memory; the file stays, while there is room
//
// Whatever fails before `kept` leaves the data where it was. What fails after it leaves it in the file: named, told to
// the client, and tried again. The event thread waits for nothing of this.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/config.h"
#include "broker/reception.h"
#include "broker/spiller.h"
#include "broker/write_budget.h"

namespace lull {

class Spills {
 public:
  Spills(Reception&, const Config&, const std::string& state_dir);
  bool on() const { return spiller_ != nullptr; }
  int fd() const { return spiller_->fd(); }
  void set_config(const Config& config) { config_ = config; }

  void on_step(Client&, const Spill&, policy::Time now);
  bool on_results(policy::Time now);  // true: memory has been freed, or taken
  // Every 100 ms. `need`: so much memory has to be freed. `wants`: who has the card, or is to have it.
  template <class Wants>
  void tick(policy::Bytes need, Wants&& wants, policy::Time now) {
    std::vector<Client*> idle;
    reception_.for_each([&](Client& client) {
      if (wants(client))
        come_back(client);
      else
        idle.push_back(&client);
    });
    plan(need, idle, now);
  }
  template <class Wants>
  void look(Wants&& wants) {  // when somebody may have got the card
    if (away_ == 0) return;
    reception_.for_each([&](Client& client) {
      if (wants(client)) come_back(client);
    });
  }

  policy::Bytes away() const { return away_; }
  // What admission may count on beyond host memory: what is there, and what may be written today whatever it is.
  policy::Bytes room() const;
  std::vector<Garbage> take_garbage() { return std::exchange(garbage_, {}); }

  struct Report {
    std::string path, error;  // error: why it is off, or what has failed last
    bool on = false, direct = true;
    policy::Bytes capacity = 0, stored = 0, away = 0, written_today = 0, daily = 0;
    std::uint64_t saves = 0, fills = 0, failures = 0, lost = 0;
  };
  Report report() const;

 private:
  using Arena = Lent::Arena;
  void parked(Client&, Arena&, const Spill&, policy::Time now);
  void kept(Client&, Arena&);
  void recalled(Client&, Arena&);
  void come_back(Client&);
  void fill(Client&, Arena&);
  void finish(SpillResult, policy::Time now);
  void refund(const SpillResult&);
  void saved(Client&, Arena&, SpillResult&, policy::Time now);
  void filled(Client&, Arena&, const SpillResult&);
  void give_back(Client&, Arena&, bool lost = false);
  void settle_debts(Client&);
  bool send(Client&, Arena&);
  void plan(policy::Bytes need, const std::vector<Client*>& idle, policy::Time now);
  bool make_room(policy::Bytes, const Arena& except);
  void drop_file(Arena&);
  void recount();
  policy::Bytes budget_left() const;

  Reception& reception_;
  Config config_;
  std::unique_ptr<Spiller> spiller_;  // null: off
  std::string record_path_;           // "": what changes is not written
  WriteBudget budget_;
  std::string error_;
  std::vector<Garbage> garbage_;
  policy::Bytes away_ = 0, stored_ = 0;
  policy::Time not_before_ = 0;  // after a failure
  policy::Time need_since_ = 0;  // 0: there is none
  policy::Time last_saved_ = 0;
  unsigned saving_ = 0;  // arenas on their way to disk
  std::uint64_t saves_ = 0, fills_ = 0, failures_ = 0, lost_ = 0;
};

}  // namespace lull

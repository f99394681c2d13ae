// broker/broker.h: everything together, on one event thread.
//
//   reception (sockets, processes) ─▶ arbiters (one a GPU: State → decide() → pages) ─▶ event log ─▶ control socket
//   requests (kernel programs)     ─▶    ▲                 ▲
//   gauge (NVML, free host memory) ──────┘    arenas ──────┘   threads of ordinary priority
//
// Pages are read when a doorbell rings, and all of them every 100 ms while there is a client.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "broker/arbiter.h"
#include "broker/arenas.h"
#include "broker/backing.h"
#include "broker/chores.h"
#include "broker/control.h"
#include "broker/event_log.h"
#include "broker/gauge.h"
#include "broker/gpu_watch.h"
#include "broker/hook.h"
#include "broker/measure.h"
#include "broker/oom.h"
#include "broker/reception.h"
#include "broker/requests.h"
#include "broker/spills.h"

namespace lull {

class Broker final : private Host, private Audience {
 public:
  // What lulld may set up only as long as it has all its rights.
  struct Prepared {
    Requests requests;
    std::vector<std::string> notes;   // of that
    std::vector<std::string> rights;  // which are left
  };
  Broker(Loop&, const Config&, std::vector<Card>, const Nvml*, RuntimeDir, const std::string& state_dir, Prepared);
  lull::Status open();
  void reload(const Config&);
  void announce_restart();  // clients will wait longer for the next broker
  void leave();             // before an orderly stop: opens what can be opened

 private:
  // Host
  void on_connect() override;
  void on_welcome(Client&) override;
  lull::Status on_attach(Client&, const Attach&) override;
  lull::Status on_doorbell(Client&) override;
  void on_returned(Client&, const Returned&) override;
  void on_spill(Client&, const Spill&) override;
  void on_lost(Client&, const char* why) override;
  void on_dead(Client&) override;
  // Audience
  void on_switch(const Card&, const Switch&) override;
  void on_lease_end(const Card&, const Switch&) override;
  void on_stuck(const Card&, const Who&, Reason) override;
  void on_overdue(const Card&, const Who&, Overdue) override;
  void on_wish_over(const Card&, const Wish&) override;
  void on_order_over(const Card&, const Who&, policy::Order) override;  // broker_orders.cpp

  lull::Status refresh(Client&, policy::Time now);
  Gang gang_of(const Client&);  // broker_gangs.cpp
  std::uint32_t pipeline_of(const Client&) const;
  void regroup(Client&);  // the configuration may name other gangs and pipelines
  void coordinate_gangs(policy::Time now);
  std::string blocker(const Card&, Reason) const;
  void tell_hook(const Card&, const Who&, Reason state, const std::string& blocked_by);
  bool waits_for_reserve(Client&, const Attach&, const Arbiter&);
  void attach_waiting();
  void on_refused(const Card&, const Seat&);
  void settle(const Client&, policy::Time now);  // the cards this client is on
  void settle_all(policy::Time now);
  void schedule(policy::Time now);
  void tick();
  void look_for_requests();
  void watch_requests(Client&);
  void follow_service(Client&, const ServiceConfig& before);
  void learn();
  nlohmann::json wake(const std::string& whom, policy::Time lasts);  // tenant or process
  void wake(Client&, policy::Time now, policy::Time lasts);
  void on_soon(const ClassSocket&);
  void watch_gpus();
  void on_gpu_opened(const DeviceOpen&);
  void look_at_holders();
  nlohmann::json status_of_requests() const;
  nlohmann::json status_of_holders() const;
  void set_admissions();
  Backed backed(const Client&, std::span<const policy::Bytes> lacking) const;  // lacking: on each card, together
  std::vector<Claim> claims(policy::Time now);                                 // writes each client's limit
  void plan_backing(policy::Time now);
  void on_arena();
  void on_spilled();
  bool needs_memory(const Client&) const;
  policy::Bytes spill_need(std::span<const Claim>, const ArenaLimits&);
  void tell_backing(const Client&);
  void free_later(std::vector<Garbage>);
  void take_out_garbage();
  void note_pressure(policy::Time now);
  void adjust_oom_scores();
  void load_speeds();    // broker_measure.cpp
  void measure_cards();  // the next one that is idle and not measured
  void on_measured();
  void needs_card(std::size_t card);  // a measurement there has to end
  void on_gauge();
  void ask_gauge();
  policy::Bytes backing_held() const;
  policy::Bytes share_of_each() const;  // of host memory, for each user
  policy::Bytes budget() const;
  Requests::Sink request_sink(policy::Time now);
  Control::Commands commands();  // broker_commands.cpp
  nlohmann::json free_for(const nlohmann::json& request, unsigned uid);
  struct OrderCommand {
    policy::Order order;
    bool ends_hold = false;  // else, with Order::none, a pause or release
  };
  nlohmann::json order(const nlohmann::json& request, unsigned uid, const OrderCommand&);  // broker_orders.cpp
  std::pair<std::string, Control::Command> order_command(const char* name, OrderCommand);
  std::vector<Client*> clients_meant(const std::string& whom, bool* tenant);
  void obey(Client&, const OwnersWord&);
  void adopt_order(Client&, policy::Time now);
  void note_order(const Client&, const OwnersWord&, policy::Time now, unsigned uid);
  Arbiter* arbiter_named(const nlohmann::json& gpu);
  nlohmann::json status() const;  // broker_status.cpp
  nlohmann::json chart() const;   // broker_chart.cpp
  nlohmann::json status_of(const Arbiter&, std::size_t card) const;

  Loop& loop_;
  Config config_;
  RuntimeDir run_;
  policy::Time started_;
  EventLog events_;
  std::vector<std::unique_ptr<Arbiter>> arbiters_;
  Reception reception_;
  Spills spills_;
  Control control_;
  std::vector<std::string> request_notes_, rights_;  // for people
  Requests requests_;
  OomKeeper oom_;  // used by chores alone
  Chores chores_;
  Hook hook_;
  struct Measuring {
    unsigned tries = 0;
    bool now = false;
    std::string state;  // for people
  };
  SpeedStore speeds_;
  std::string driver_version_;
  std::vector<Measuring> measuring_;  // of each card
  CardMeasurer measurer_;
  ArenaMaker arenas_;
  ArenaNumbers arena_numbers_;
  PressureMemory pressure_;
  bool unserved_ = false;          // somebody waits for host memory that is not to be had
  bool spilling_ = false;          // something has to go to disk
  policy::Time arenas_retry_ = 0;  // after a failure: not before this
  Gauge gauge_;
  HostMemory host_;
  bool gauge_seen_ = false;
  KindBook kinds_;
  GpuWatch watch_;
  std::uint32_t last_gang_ = 0;  // its number
  std::uint64_t ticks_ = 0;
  bool ticking_ = false;
  std::vector<Source> on_soon_;
  Source tick_, decide_, on_requests_, on_arena_, on_spilled_, on_gauge_, measure_, on_measured_;
};

}  // namespace lull

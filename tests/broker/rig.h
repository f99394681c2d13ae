// tests/broker/rig.h: a card's arbiter with shims that do as they are told, and time that moves when the test says so.
#pragma once
#include <doctest/doctest.h>

#include <memory>

#include "broker/arbiter.h"
#include "broker/event_log.h"
#include "broker/units.h"
#include "nlohmann/json.hpp"

namespace lull::rig {

using policy::Bytes;
using policy::ms;
using policy::second;
using policy::Time;

struct Heard final : Audience {
  std::vector<Switch> switches, ends;
  std::vector<Reason> stuck;
  std::vector<Overdue> overdue;
  void on_switch(const Card&, const Switch& s) override { switches.push_back(s); }
  void on_lease_end(const Card&, const Switch& s) override { ends.push_back(s); }
  void on_stuck(const Card&, const Who&, Reason r) override { stuck.push_back(r); }
  void on_overdue(const Card&, const Who&, Overdue o) override { overdue.push_back(o); }
  unsigned wishes_over = 0;
  void on_wish_over(const Card&, const Wish&) override { ++wishes_over; }
  std::vector<policy::Order> orders_over;
  void on_order_over(const Card&, const Who&, policy::Order o) override { orders_over.push_back(o); }
};

// A shim that does at once what its page asks for.
struct Shim {
  std::unique_ptr<DownPage> down = std::make_unique<DownPage>();
  std::unique_ptr<UpPage> up = std::make_unique<UpPage>();
  DownWriter writer{down.get()};
  bool busy = false, stopped = false;
  std::uint64_t passed = 0;

  DownGpu& asked() { return down->gpu[0]; }
  UpGpu& said() { return up->gpu[0]; }
  void use(Bytes bytes) { said().needed = bytes; }

  void act(Time now) {
    if (stopped) return;
    const auto gate = *parse_gate(asked().gate.load());
    if (pack(gate) != said().seen_gate.load() && gate.state == GateState::closed && busy) ++said().wants;
    said().seen_gate = pack(gate);
    const auto word = asked().quota_plus_1.load();
    said().seen_quota_plus_1 = word;
    const Bytes quota = parse_limit(word).value_or(~0ull), needed = said().needed.load(),
                before = said().resident.load();
    const Bytes after = std::min(needed, quota);
    if (after < before) said().evicted_bytes += before - after;
    if (after > before) said().restored_bytes += after - before;
    said().resident = after;
    const bool closed = gate.state == GateState::closed;
    said().phase = pack(PhaseWord{gate.generation, closed ? Phase::drained : Phase::running});
    if (closed || !busy || after < needed) return;
    ++said().submissions;
    if (passed != gate.generation) said().first_pass_ns = now;
    passed = gate.generation;
  }
};

struct Rig {
  Heard heard;
  Card card{Uuid{1}, 1024 * mib, {32 * mib, 32 * mib, 2}, {}};
  Arbiter arbiter{card, rules(), heard};
  Shim trainer, service;
  Time now = 1000 * second;

  static policy::Rules rules() {
    policy::Rules r;
    r.growth_headroom = 8 * mib;
    r.keep_alive = 0;
    r.loading_linger = 10 * ms;
    return r;
  }
  void attach(policy::ClientId id, Class klass, Shim& shim, bool proven = true) {
    REQUIRE(arbiter.attach({Who{id, static_cast<int>(100 + id), 0, klass, id == 1 ? "trainer" : "service"},
                            &shim.writer, &shim.up->gpu[0], 0, false, proven, false},
                           now));
    arbiter.set_backing(id, 2048 * mib);
    arbiter.step(now);
  }
  Time pace = ms;
  void turn() {
    now += pace;
    for (auto* shim : {&trainer, &service}) shim->act(now);
    for (const policy::ClientId id : {1u, 2u}) REQUIRE(arbiter.refresh(id, now));
    arbiter.step(now);
  }
  template <class F>
  bool until(F&& f, int turns = 5000) {
    for (int i = 0; i < turns; ++i) {
      if (f()) return true;
      turn();
    }
    return f();
  }
  // The trainer holds 80 % of the card and is busy; the service's 60 % are evicted.
  void settle_in() {
    trainer.use(800 * mib);
    trainer.busy = true;
    service.use(600 * mib);
    attach(1, Class::training, trainer);
    attach(2, Class::inference, service);
    REQUIRE(until([&] { return trainer.said().submissions > 3; }));
  }
  void request() {
    service.busy = true;
    arbiter.arrived(2, now, 0, true);
    arbiter.requests(2, 1, now);
    arbiter.step(now);
  }
  void answered() {
    service.busy = false;
    arbiter.requests(2, 0, now);
    arbiter.step(now);
  }
};

}  // namespace lull::rig

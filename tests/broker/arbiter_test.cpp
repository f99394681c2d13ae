// One GPU with its clients in memory: pages, decisions, switch records. Time is a number.
#include "broker/arbiter.h"

#include <doctest/doctest.h>

#include <memory>

#include "broker/event_log.h"
#include "nlohmann/json.hpp"

using namespace lull;
using policy::Bytes;
using policy::ms;
using policy::second;
using policy::Time;

namespace {

constexpr Bytes mib = 1ull << 20;

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

}  // namespace

TEST_CASE("a card promises what is left beside contexts and headroom, in chunks of a sixty-fourth") {
  const Card card{Uuid{}, 24ull << 30, {}, {}};
  CHECK(card.total() == (24ull << 30) - 3 * 600'000'000 - (256ull << 20));
  CHECK(card.chunk() == 128 * mib);
  CHECK(Card{Uuid{}, 1024 * mib, {}, {}}.chunk() == 16 * mib);
  CHECK(Card{Uuid{}, 64 * mib, {}, {}}.chunk() == 2 * mib);
}

TEST_CASE("a request takes the card from a trainer, and the trainer gets it back") {
  Rig rig;
  rig.settle_in();
  const auto arrival = rig.now;
  rig.request();
  REQUIRE(rig.until([&] { return rig.service.said().submissions > 0; }));
  CHECK(rig.service.said().resident == 600 * mib);
  CHECK(parse_gate(rig.trainer.asked().gate.load())->state == GateState::closed);
  REQUIRE(rig.until([&] { return !rig.heard.switches.empty() && rig.heard.switches.back().to.id == 2; }));
  const auto there = rig.heard.switches.back();
  CHECK(there.preemption());
  REQUIRE(there.from.size() == 1);
  CHECK(there.from[0].tenant == "trainer");
  CHECK(there.seen == arrival);
  CHECK(there.seen <= there.closed);
  CHECK(there.closed <= there.drained);
  CHECK(there.drained <= there.evicted);
  CHECK(there.evicted <= there.restored);
  CHECK(there.opened <= there.first_kernel);
  CHECK(there.first_kernel >= there.restored - ms);
  CHECK(there.evicted_bytes > 0);
  CHECK(there.restored_bytes > 0);
  const auto stopped_at = rig.trainer.said().submissions.load();
  rig.answered();
  REQUIRE(rig.until([&] { return rig.trainer.said().submissions > stopped_at; }));
  REQUIRE(rig.until([&] { return rig.heard.switches.back().to.id == 1; }));
  CHECK_FALSE(rig.heard.switches.back().preemption());
  CHECK(rig.heard.ends.back().id == there.id);
  CHECK(rig.arbiter.switches().preemptions() == 1);
  CHECK(rig.arbiter.switches().round_trip() > 0);
  CHECK(rig.arbiter.evicted_total() == rig.trainer.said().evicted_bytes + rig.service.said().evicted_bytes);
}

TEST_CASE("what was measured of the card predicts a switch, and is compared with what it took") {
  constexpr std::uint64_t rate = 1'000'000'000;
  const CardSpeed speed{rate, rate, rate, rate, mib, {}, 0};
  Rig rig;
  rig.settle_in();
  const Bytes free = policy::free_now(rig.arbiter.state());
  REQUIRE(free < 600 * mib);
  CHECK(rig.arbiter.state().gpu.round_trip == 0);
  CHECK(rig.trainer.asked().piece_bytes == 0);
  rig.arbiter.set_speed(speed);
  CHECK(rig.trainer.asked().piece_bytes == piece_of(speed));
  rig.request();
  CHECK(rig.arbiter.switches().last()->predicted == predict_move(speed, 600 * mib - free, 600 * mib, 16 * mib));
  rig.turn();
  CHECK(rig.arbiter.state().gpu.round_trip == 2 * rig.arbiter.switches().last()->predicted);  // until one is timed
  REQUIRE(rig.until([&] { return !rig.heard.switches.empty() && rig.heard.switches.back().to.id == 2; }));
  const auto there = rig.heard.switches.back();
  CHECK(there.moved() > 0);
  const auto& record = rig.arbiter.switches().record();
  CHECK(record.switches == 1);
  CHECK(record.predicted == there.predicted);
  CHECK(record.moved == there.moved());
  CHECK(json_of(there)["predicted_ns"] == there.predicted);
  CHECK(json_of(there)["moved_ns"] == there.moved());
}

TEST_CASE("without a measurement nothing is predicted") {
  Rig rig;
  rig.settle_in();
  rig.request();
  REQUIRE(rig.until([&] { return !rig.heard.switches.empty() && rig.heard.switches.back().to.id == 2; }));
  CHECK(rig.heard.switches.back().predicted == 0);
  CHECK(rig.arbiter.switches().record().switches == 0);
}

TEST_CASE("at no moment do the charges exceed the card") {
  Rig rig;
  rig.settle_in();
  for (int round = 0; round < 5; ++round) {
    rig.request();
    for (int i = 0; i < 40; ++i) {
      rig.turn();
      Bytes sum = rig.arbiter.state().gpu.headroom;
      for (const auto& c : rig.arbiter.state().clients) sum += policy::charge(c, rig.arbiter.state().gpu);
      CHECK(sum <= rig.card.memory);
    }
    rig.answered();
    REQUIRE(rig.until([&] { return rig.trainer.said().resident == 800 * mib; }));
  }
}

TEST_CASE("when the service dies its lease passes on, and its memory only when its process is gone") {
  Rig rig;
  rig.settle_in();
  rig.request();
  REQUIRE(rig.until([&] { return rig.service.said().submissions > 0; }));
  rig.service.stopped = true;
  rig.arbiter.release(2, rig.now);
  rig.arbiter.step(rig.now);
  CHECK(rig.arbiter.state().clients.size() == 1);
  CHECK(rig.arbiter.state().gpu.foreign >= 600 * mib);
  const auto stopped_at = rig.trainer.said().submissions.load();
  for (int i = 0; i < 50; ++i) rig.turn();
  CHECK(rig.trainer.said().resident < 800 * mib);
  rig.arbiter.buried(102);
  CHECK(rig.arbiter.state().gpu.foreign == 0);
  REQUIRE(rig.until([&] { return rig.trainer.said().submissions > stopped_at; }));
  CHECK(rig.trainer.said().resident == 800 * mib);
}

TEST_CASE("a process that connects again brings its memory with it") {
  Rig rig;
  rig.settle_in();
  rig.arbiter.release(1, rig.now);
  CHECK(rig.arbiter.state().gpu.foreign >= 800 * mib);
  Shim again;
  again.use(800 * mib);
  again.said().resident = 800 * mib;
  REQUIRE(rig.arbiter.attach(
      {Who{3, 101, 0, Class::training, "trainer"}, &again.writer, &again.up->gpu[0], 0, false, false, false}, rig.now));
  CHECK(rig.arbiter.state().gpu.foreign == 0);
  CHECK(rig.arbiter.state().clients.back().resident == 800 * mib);
}

TEST_CASE("what an earlier broker has given for native memory stays charged, and is no demand") {
  Rig rig;
  rig.trainer.said().native_wanted = 40 * mib;
  rig.attach(1, Class::training, rig.trainer);
  const policy::Client& c = rig.arbiter.state().clients.front();
  CHECK(c.native_given == 40 * mib);
  CHECK(policy::native_charge(c, rig.arbiter.state().gpu) == (32 + 40) * mib);
  CHECK(parse_limit(rig.trainer.down->gpu[0].native_room_plus_1.load()) == 40 * mib);
}

TEST_CASE("a context of a client is its native memory, not another program's") {
  Rig rig;
  rig.settle_in();
  const auto mark = rig.arbiter.quiet_mark();
  REQUIRE(mark);
  const auto& trainer = rig.arbiter.state().clients.front();
  const int pid = rig.arbiter.seat(trainer.id)->who().pid;
  rig.arbiter.set_used({*mark + 70 * mib, {{pid, trainer.resident + 50 * mib}}}, *mark);
  CHECK(rig.arbiter.state().clients.front().native == 50 * mib);
  CHECK(rig.arbiter.state().gpu.foreign == 20 * mib);
  REQUIRE(rig.arbiter.refresh(trainer.id, rig.now));
  CHECK(rig.arbiter.state().clients.front().native == 50 * mib);
}

TEST_CASE("memory of other programs is what NVML sees beyond the clients, and only while nothing moves") {
  Rig rig;
  rig.settle_in();
  const auto mark = rig.arbiter.quiet_mark();
  REQUIRE(mark);
  rig.arbiter.set_used({*mark + 50 * mib, {}}, *mark);
  CHECK(rig.arbiter.state().gpu.foreign == 50 * mib);
  rig.arbiter.set_used({*mark + 70 * mib, {}}, *mark + 1);  // asked before something moved
  CHECK(rig.arbiter.state().gpu.foreign == 50 * mib);
  rig.arbiter.set_used({*mark - 1, {}}, *mark);
  CHECK(rig.arbiter.state().gpu.foreign == 0);
  rig.trainer.said().phase = pack(PhaseWord{0, Phase::moving});
  REQUIRE(rig.arbiter.refresh(1, rig.now));
  CHECK_FALSE(rig.arbiter.quiet_mark());
}

TEST_CASE("what a user's gone connections had for their signals counts against the new ones, and is forgiven slowly") {
  GraceDebts debts;
  const Time t = 1000 * second;
  CHECK(debts.owed(7, t) == 0);
  debts.came(1, 0);
  debts.went(1, 7, 60 * second, t);
  CHECK(debts.owed(7, t) == 60 * second);
  CHECK(debts.owed(8, t) == 0);
  CHECK(debts.owed(7, t + 100 * second) == 50 * second);
  debts.came(2, 50 * second);
  debts.went(2, 7, 55 * second, t + 100 * second);  // only what it spent itself is new
  CHECK(debts.owed(7, t + 100 * second) == 55 * second);
  CHECK(debts.owed(7, t + 650 * second) == 0);
  debts.went(3, 7, 0, t + 650 * second);
  CHECK(debts.owed(7, t + 650 * second) == 0);
}

TEST_CASE("a training program that connects again has no new grace for its signals") {
  Rig rig;
  rig.settle_in();
  rig.request();
  REQUIRE(rig.until([&] { return rig.service.said().submissions > 0; }));
  ++rig.trainer.said().interrupted;
  rig.pace = 100 * ms;
  REQUIRE(rig.until([&] { return rig.arbiter.state().clients[0].lease_reason == Reason::exit_grace; }));
  for (int i = 0; i < 100; ++i) rig.turn();  // ten seconds of the card
  rig.arbiter.release(1, rig.now);
  Shim again;  // a new page
  again.use(800 * mib);
  rig.attach(3, Class::training, again);
  const auto& client = rig.arbiter.state().clients.back();
  REQUIRE(client.id == 3);
  CHECK(client.exit_grace_spent >= 9 * second);
  CHECK(client.exit_grace_spent <= 11 * second);
}

TEST_CASE("programs on the card that are no clients are listed, the largest first") {
  Rig rig;
  rig.settle_in();
  rig.arbiter.set_used({900 * mib, {{101, 830 * mib}, {7, std::nullopt, "Xorg"}, {8, 20 * mib, "player"}}},
                       std::nullopt);
  const auto& strangers = rig.arbiter.strangers();
  REQUIRE(strangers.size() == 2);
  CHECK(strangers[0].pid == 8);
  CHECK(strangers[1].pid == 7);
  CHECK(strangers[1].command == "Xorg");
}

TEST_CASE("room that was asked for is made, counted as theirs once they take it, and given back in time") {
  Rig rig;
  rig.settle_in();
  CHECK(rig.arbiter.most_to_free() >= 900 * mib);
  rig.arbiter.set_wish(Wish{300 * mib, 0, rig.now, rig.now + 20 * second, 0});
  rig.arbiter.step(rig.now);
  CHECK(rig.arbiter.wake_at() <= rig.now + 20 * second);
  const auto& gpu = rig.arbiter.state().gpu;
  CHECK(gpu.kept_free == 300 * mib);
  REQUIRE(rig.until([&] { return policy::free_now(rig.arbiter.state()) >= 300 * mib; }));
  const auto mark = rig.arbiter.quiet_mark();
  REQUIRE(mark);
  rig.arbiter.set_used({*mark + 200 * mib, {}}, *mark);
  rig.turn();
  CHECK(gpu.foreign == 200 * mib);
  CHECK(gpu.kept_free == 100 * mib);
  rig.arbiter.set_used({*mark + 400 * mib, {}}, *mark);  // more than was asked for
  rig.turn();
  CHECK(gpu.kept_free == 0);
  rig.arbiter.set_used({*mark, {}}, *mark);
  rig.turn();
  CHECK(gpu.kept_free == 300 * mib);
  CHECK(rig.heard.wishes_over == 0);
  rig.pace = 10 * ms;
  CHECK(rig.until([&] { return rig.trainer.said().resident == 800 * mib; }));
  CHECK(rig.heard.wishes_over == 1);
  CHECK_FALSE(rig.arbiter.wish());
  CHECK(gpu.kept_free == 0);
}

TEST_CASE("a card that does little but switch is said to thrash, once, and when it is over") {
  Rig rig;
  rig.settle_in();
  const auto there_and_back = [&] {
    const auto served = rig.service.said().submissions.load();
    rig.request();
    REQUIRE(rig.until([&] { return rig.service.said().submissions > served; }));
    rig.answered();
    const auto trained = rig.trainer.said().submissions.load();
    REQUIRE(rig.until([&] { return rig.trainer.said().submissions > trained; }));
  };
  const auto told = [&] { return std::count(rig.heard.stuck.begin(), rig.heard.stuck.end(), Reason::thrashing); };
  for (int i = 0; i < 5; ++i) {  // switches of a few milliseconds, one in a while
    there_and_back();
    rig.now += 10 * second;
    rig.turn();
  }
  CHECK_FALSE(rig.arbiter.thrashing());
  rig.pace = 500 * ms;
  for (int i = 0; i < 30; ++i) there_and_back();
  CHECK(rig.arbiter.thrashing());
  CHECK(told() == 1);
  rig.service.busy = false;
  for (int i = 0; i < 130; ++i) rig.turn();
  CHECK_FALSE(rig.arbiter.thrashing());
  CHECK(rig.heard.stuck.back() == Reason::none);
}

TEST_CASE("clients of a killed broker that wait half-way are not taken for foreign memory") {
  Rig rig;
  // Both were moving when the old broker died: 700 of 1200 MiB are on the card, and each waits for room.
  rig.service.use(500 * mib);
  rig.service.said().resident = 200 * mib;
  rig.trainer.use(700 * mib);
  rig.trainer.said().resident = 500 * mib;
  rig.trainer.busy = rig.service.busy = true;
  rig.arbiter.set_used({764 * mib, {}, true}, Bytes{0});  // before anybody is a client
  CHECK(rig.arbiter.state().gpu.foreign == 764 * mib);
  const auto moving = pack(PhaseWord{0, Phase::moving});
  rig.service.said().phase = moving;
  rig.attach(2, Class::inference, rig.service);
  SUBCASE("NVML says no more") {}
  SUBCASE("NVML says what each holds, while they still move") {
    REQUIRE_FALSE(rig.arbiter.quiet_mark());
    rig.arbiter.set_used({764 * mib, {{102, 232 * mib}, {101, 532 * mib}}, false}, std::nullopt);
    CHECK(rig.arbiter.state().gpu.foreign == 564 * mib);  // not while the sum changes
    rig.arbiter.set_used({764 * mib, {{102, 232 * mib}, {101, 532 * mib}}, true}, std::nullopt);
    CHECK(rig.arbiter.state().gpu.foreign == 532 * mib);
  }
  rig.trainer.said().phase = moving;
  rig.attach(1, Class::training, rig.trainer);
  CHECK(rig.arbiter.state().gpu.foreign <= 64 * mib);
  rig.arbiter.set_used({764 * mib, {{102, 232 * mib}, {101, 532 * mib}}, true}, std::nullopt);
  CHECK(rig.arbiter.state().gpu.foreign == 0);
  CHECK(rig.until([&] { return rig.service.said().resident == 500 * mib && rig.service.said().submissions > 0; }));
}

TEST_CASE("a service counts as starting until it listens, is quiet or has taken too long") {
  Rig rig;
  rig.arbiter.set_rules([] {
    auto r = Rig::rules();
    r.loading_quiet = second;
    return r;
  }());
  REQUIRE(rig.arbiter.attach(
      {Who{2, 102, 0, Class::inference, "s"}, &rig.service.writer, &rig.service.up->gpu[0], 0, true, false, false},
      rig.now));
  CHECK(rig.arbiter.state().clients[0].loading);
  SUBCASE("listens") { rig.arbiter.loaded(2); }
  SUBCASE("quiet") {
    rig.now += 2 * second;
    REQUIRE(rig.arbiter.refresh(2, rig.now));
  }
  SUBCASE("too long") {
    rig.service.said().submissions = 7;
    rig.now += 400 * second;
    REQUIRE(rig.arbiter.refresh(2, rig.now));
  }
  CHECK_FALSE(rig.arbiter.state().clients[0].loading);
}

TEST_CASE("a trainer that does not drain is let go of, and that is told") {
  Rig rig;
  rig.settle_in();
  rig.trainer.stopped = true;
  rig.request();
  const auto gate = *parse_gate(rig.trainer.asked().gate.load());
  REQUIRE(gate.state == GateState::closed);
  rig.trainer.said().seen_gate = pack(gate);
  rig.trainer.said().phase = pack(PhaseWord{gate.generation, Phase::overdue, Overdue::stream_busy});
  REQUIRE(rig.until([&] { return !rig.heard.overdue.empty(); }));
  CHECK(rig.heard.overdue[0] == Overdue::stream_busy);
  CHECK(parse_gate(rig.trainer.asked().gate.load())->state == GateState::open);
}

TEST_CASE("a rank stands still while the broker says that another card's part is not ready") {
  Rig rig;
  rig.trainer.use(800 * mib);
  rig.trainer.busy = true;
  REQUIRE(rig.arbiter.attach(
      {Who{1, 101, 0, Class::training, "rank"}, &rig.trainer.writer, &rig.trainer.said(), 0, false, true, false, 7},
      rig.now));
  REQUIRE(rig.until([&] { return rig.trainer.said().submissions > 3; }));
  CHECK(rig.arbiter.client(1)->gang_said.readiness == policy::Readiness::ready);
  const auto gate = [&] { return parse_gate(rig.trainer.asked().gate.load())->state; };
  rig.arbiter.hear(1, {policy::Level::none, true, false}, rig.now);
  CHECK(rig.arbiter.changed());
  rig.turn();
  CHECK(gate() == GateState::closed);
  CHECK(rig.arbiter.client(1)->reason == Reason::gang_waits);
  CHECK(rig.arbiter.client(1)->gang_said.readiness == policy::Readiness::ready);
  rig.arbiter.hear(1, {policy::Level::none, true, false}, rig.now);
  CHECK(!rig.arbiter.changed());
  rig.arbiter.hear(1, {}, rig.now);
  rig.turn();
  CHECK(gate() == GateState::open);
}

TEST_CASE("before it stops the broker opens only what is whole") {
  Rig rig;
  rig.settle_in();
  rig.request();
  REQUIRE(rig.until([&] { return rig.service.said().submissions > 0; }));
  rig.arbiter.open_what_is_whole(rig.now);
  CHECK(parse_gate(rig.service.asked().gate.load())->state == GateState::open);
  CHECK(parse_gate(rig.trainer.asked().gate.load())->state == GateState::closed);
}

TEST_CASE("a switch becomes one line of JSON with its phases") {
  Switch s;
  s.id = 7;
  s.from.push_back({1, 11, 0, Class::training, "bad \xff name"});
  s.to = {2, 22, 0, Class::inference, "faces"};
  s.seen = 5;
  s.closed = 9;
  const auto line = dump(json_of(s));
  CHECK(line.find('\n') == std::string::npos);
  const auto back = nlohmann::json::parse(line);
  CHECK(back["phases"]["closed"] == 9);
  CHECK(back["phases"]["ended"].is_null());
  CHECK(back["preemption"] == true);
  CHECK(back["to"]["tenant"] == "faces");
}

TEST_CASE("the event log keeps the last thousand") {
  EventLog log;
  for (int i = 0; i < 1500; ++i) log.append({{"event", "x"}});
  CHECK(log.lines().size() == EventLog::kept);
  CHECK(nlohmann::json::parse(log.lines().back())["seq"] == 1500);
}

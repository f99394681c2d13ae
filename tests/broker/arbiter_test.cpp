// One GPU with its clients in memory: pages, decisions, switch records. Time is a number.
#include "tests/broker/rig.h"

using namespace lull;
using namespace lull::rig;

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

TEST_CASE("an owner's word is obeyed, and its end is told once") {
  rig::Rig rig;
  rig.settle_in();
  rig.arbiter.set_order(1, policy::Order::release, rig.now + 200 * ms);
  rig.arbiter.step(rig.now);
  CHECK(rig.until([&] { return rig.trainer.said().resident == 0; }));
  CHECK(rig.arbiter.client(1)->reason == Reason::owner_release);
  CHECK(rig.heard.orders_over.empty());
  const auto before = rig.trainer.said().submissions.load();
  CHECK(rig.until([&] { return rig.trainer.said().submissions > before; }));
  CHECK(rig.heard.orders_over == std::vector{policy::Order::release});
  CHECK(rig.arbiter.client(1)->order == policy::Order::none);
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

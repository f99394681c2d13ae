#include "broker/seat.h"

#include <doctest/doctest.h>

#include <memory>

#include "broker/units.h"

using namespace lull;
using policy::Bytes;
using policy::second;

namespace {

constexpr Bytes card = 1ull << 30;
constexpr KindId kind = 3, other_kind = 4;

// A seat with both pages, and the shim's hand in them.
struct SeatRig {
  std::unique_ptr<DownPage> down = std::make_unique<DownPage>();
  std::unique_ptr<UpPage> up = std::make_unique<UpPage>();
  DownWriter writer{down.get()};
  Seat seat{Who{1, 10, 0, Class::inference, "t"}, writer, up->gpu[3], 3};
  policy::Client client;
  policy::Rules rules;
  policy::Time now = 1000 * second;

  SeatRig() { REQUIRE(read()); }
  Status read() { return seat.read(client, rules, card, now); }
  void decide(const policy::Decision& decision) {
    const auto before = client;
    policy::remember(client, decision, now);
    seat.send(before, client, decision, now);
    seat.flush();
  }
  void gate(GateState state) { decide(policy::SetGate{1, state, Reason::request}); }
  void quota(Bytes bytes) { decide(policy::SetQuota{1, bytes, Reason::request}); }
  DownGpu& shown() { return down->gpu[3]; }
  UpGpu& said() { return up->gpu[3]; }
  void see_gate() { said().seen_gate = shown().gate.load(); }
  void see_quota() { said().seen_quota_plus_1 = shown().quota_plus_1.load(); }
};

}  // namespace

TEST_CASE("a decision reaches the record of its slot and wakes the shim once") {
  SeatRig rig;
  rig.gate(GateState::closed);
  CHECK(parse_gate(rig.shown().gate.load()) == GateWord{1, GateState::closed});
  CHECK(rig.shown().reason.load() == static_cast<std::uint32_t>(Reason::request));
  CHECK(rig.down->wake.load() == 1);
  rig.seat.flush();
  CHECK(rig.down->wake.load() == 1);
  rig.gate(GateState::closed);
  CHECK(rig.down->wake.load() == 1);
  rig.gate(GateState::open);
  CHECK(parse_gate(rig.shown().gate.load()) == GateWord{2, GateState::open});
  rig.seat.send_admit(5 * mib);
  rig.seat.flush();
  CHECK(parse_limit(rig.shown().admit_plus_1.load()) == 5 * mib);
}

TEST_CASE("demand lasts until somebody is seen to pass the gate") {
  SeatRig rig;
  rig.gate(GateState::closed);
  rig.said().wants = 1;
  REQUIRE(rig.read());
  CHECK(rig.client.wants);
  CHECK(rig.client.wants_since == rig.now);
  // Open for a moment, too short for anybody to pass: the thread does not tell again.
  rig.now += second / 1000;
  rig.gate(GateState::open);
  rig.see_gate();
  REQUIRE(rig.read());
  CHECK(rig.client.wants);
  rig.gate(GateState::closed);
  rig.see_gate();
  REQUIRE(rig.read());
  CHECK(rig.client.wants);
  rig.gate(GateState::open);
  rig.see_gate();
  rig.said().first_pass_ns = rig.now;
  REQUIRE(rig.read());
  CHECK_FALSE(rig.client.wants);
}

TEST_CASE("a thread that gave up does not want for ever") {
  SeatRig rig;
  rig.gate(GateState::closed);
  rig.said().wants = 1;
  REQUIRE(rig.read());
  rig.gate(GateState::open);
  rig.see_gate();
  rig.now += 2 * second;
  REQUIRE(rig.read());
  CHECK_FALSE(rig.client.wants);
}

TEST_CASE("the largest quota sent since the one last seen counts") {
  SeatRig rig;
  rig.quota(100 * mib);
  rig.quota(500 * mib);
  rig.quota(200 * mib);
  REQUIRE(rig.read());
  CHECK(rig.client.quota_high == 500 * mib);
  rig.see_quota();
  REQUIRE(rig.read());
  CHECK(rig.client.quota_high == 200 * mib);
}

TEST_CASE("a quota sent again is told apart from the first one") {
  SeatRig rig;
  rig.quota(200 * mib);
  rig.see_quota();
  const auto first = rig.said().seen_quota_plus_1.load();
  rig.quota(500 * mib);
  rig.quota(200 * mib);
  CHECK(rig.shown().quota_plus_1.load() != first);
  REQUIRE(rig.read());
  CHECK(rig.client.quota_high == 500 * mib);  // it may still be on its way to 500
  rig.see_quota();
  REQUIRE(rig.read());
  CHECK(rig.client.quota_high == 200 * mib);
}

TEST_CASE("a client that has stopped reading costs no more memory with each quota") {
  SeatRig rig;
  for (Bytes i = 0; i < 1000; ++i) rig.quota((i == 10 ? 900 : i % 100) * mib);
  REQUIRE(rig.read());
  CHECK(rig.client.quota_high == 900 * mib);
}

TEST_CASE("native memory is believed as far as NVML has seen it, and a bare claim up to a share of the card") {
  SeatRig rig;
  REQUIRE(rig.read());
  rig.said().native = card;
  REQUIRE(rig.read());
  CHECK(rig.client.native == card / 16);
  rig.seat.measured(rig.client, 50 * mib);
  REQUIRE(rig.read());
  CHECK(rig.client.native == 50 * mib);
}

TEST_CASE("what is wanted for native memory is read, and the answers are shown to the shim") {
  SeatRig rig;
  CHECK_FALSE(parse_limit(rig.shown().native_room_plus_1.load()));
  rig.seat.offer_native_room();
  CHECK(parse_limit(rig.shown().native_room_plus_1.load()) == Bytes{0});
  rig.said().native_wanted = 64 * mib;
  REQUIRE(rig.read());
  CHECK(rig.client.native_wanted == 64 * mib);
  rig.decide(policy::GiveNative{1, 64 * mib, 164 * mib});
  CHECK(parse_limit(rig.shown().native_room_plus_1.load()) == 64 * mib);
  CHECK(rig.client.native_floor == 164 * mib);
  rig.decide(policy::RefuseNative{1, 96 * mib});
  CHECK(rig.shown().native_refused.load() == 96 * mib);
}

TEST_CASE("words no honest client writes are refused by name") {
  const auto word = [](auto&& spoil) {
    SeatRig rig;
    rig.gate(GateState::closed);
    spoil(rig.said());
    const auto status = rig.read();
    return std::string(status ? "accepted" : status.error().what);
  };
  CHECK(word([](UpGpu& up) { up.seen_gate = 3; }) == "seen_gate");
  CHECK(word([](UpGpu& up) { up.seen_gate = pack(GateWord{99, GateState::open}); }) == "seen_gate");
  CHECK(word([](UpGpu& up) { up.phase = 0xf0; }) == "phase");
  CHECK(word([](UpGpu& up) { up.phase = pack(PhaseWord{7, Phase::drained}); }) == "phase");
  CHECK(word([](UpGpu& up) { up.resident = card + 1; }) == "resident");
  CHECK(word([](UpGpu& up) { up.needed = card + 1; }) == "needed");
  CHECK(word([](UpGpu& up) { up.native = ~0ull; }) == "native");
  CHECK(word([](UpGpu& up) { up.native_wanted = card + 1; }) == "native_wanted");
  CHECK(word([](UpGpu& up) { up.first_pass_ns = ~0ull; }) == "first_pass_ns");
  CHECK(word([](UpGpu& up) { up.wants = ~0ull; }) == "accepted");
}

TEST_CASE("an arrival followed by GPU work proves its service") {
  SeatRig rig;
  rig.seat.arrived(rig.client, rig.now, kind, false);
  REQUIRE(rig.read());
  CHECK_FALSE(rig.client.proven);
  rig.now += second;
  rig.said().submissions = 5;
  REQUIRE(rig.read());
  CHECK(rig.client.proven);
}

TEST_CASE("GPU work long after an arrival proves nothing") {
  SeatRig rig;
  rig.seat.arrived(rig.client, rig.now, kind, false);
  rig.now += 60 * second;
  rig.said().submissions = 5;
  REQUIRE(rig.read());
  CHECK_FALSE(rig.client.proven);
}

TEST_CASE("what a kind of request has led to is told, once, and only where it is certain") {
  const auto told = [](SeatRig& rig) {
    const auto outcomes = rig.seat.take_outcomes();
    CHECK(outcomes.size() <= 1);
    return outcomes.empty() ? 0 : (outcomes[0].led_to_work ? 1 : -1) * static_cast<int>(outcomes[0].kind);
  };
  SeatRig rig;
  rig.seat.arrived(rig.client, rig.now, kind, false);
  rig.client.waiting = 1;
  rig.now += second / 10;
  rig.said().submissions = 5;
  REQUIRE(rig.read());
  CHECK(told(rig) == static_cast<int>(kind));
  CHECK(told(rig) == 0);
  rig.client.waiting = 0;
  // Answered without work, and asked something else.
  rig.now += second;
  rig.seat.arrived(rig.client, rig.now, kind, true);
  CHECK(rig.client.proven);
  rig.now += second;
  rig.seat.arrived(rig.client, rig.now, other_kind, false);
  CHECK_FALSE(rig.client.proven);
  CHECK(told(rig) == -static_cast<int>(kind));
  // Nothing follows for a long time.
  rig.now += 60 * second;
  REQUIRE(rig.read());
  CHECK(told(rig) == -static_cast<int>(other_kind));
  // Two kinds at once: work says nothing about either, and the proven one keeps counting.
  rig.seat.arrived(rig.client, rig.now, kind, true);
  rig.client.waiting = 1;
  rig.seat.arrived(rig.client, rig.now, other_kind, false);
  CHECK(rig.client.proven);
  rig.now += second / 10;
  rig.said().submissions = 9;
  REQUIRE(rig.read());
  CHECK(told(rig) == 0);
}

TEST_CASE("a demand begins with its first packet, not with the last of an earlier one") {
  SeatRig rig;
  rig.seat.arrived(rig.client, rig.now, kind, false);
  rig.now += 10 * second;
  const auto second_arrival = rig.now;
  rig.seat.arrived(rig.client, rig.now, kind, false);
  rig.client.waiting = 1;
  rig.now += second / 100;
  rig.seat.arrived(rig.client, rig.now, kind, false);
  CHECK(rig.seat.take_demand_since(rig.now) == second_arrival);
  CHECK(rig.seat.take_demand_since(rig.now) == rig.now);
}

TEST_CASE("a signal behind the gate counts until its grace is spent") {
  SeatRig rig;
  rig.said().interrupted = 1;
  REQUIRE(rig.read());
  CHECK(rig.client.interrupted);
  rig.client.exit_grace_spent = rig.rules.exit_grace;
  REQUIRE(rig.read());
  CHECK_FALSE(rig.client.interrupted);
}

TEST_CASE("paused time is the time behind the closed gate") {
  SeatRig rig;
  rig.gate(GateState::closed);
  rig.now += 3 * second;
  CHECK(rig.seat.paused_ns(rig.client, rig.now) == 3 * second);
  rig.gate(GateState::open);
  rig.now += 5 * second;
  CHECK(rig.seat.paused_ns(rig.client, rig.now) == 3 * second);
}

// Whose memory moves: seats, victims, growth, foreign programs. Sizes are in GiB; the card has 79 to give.
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

// Everybody answers at once and has drained; memory has not moved yet.
void all_drained(World& w) {
  for (Client& c : w.state.clients) {
    c.seen_gate = c.gate;
    c.quota_high = c.quota.value_or(0);
    c.phase = {c.gate.generation, c.gate.state == GateState::closed ? Phase::drained : Phase::running, Overdue::none};
  }
}

Bytes quota(const World& w, std::size_t index) { return *w.state.clients[index].quota; }

TEST_CASE("the lowest class leaves first, and in a class the one whose lease is oldest") {
  World w = card();
  w.add(running(inference, 10));
  w.add(running(interactive, 10));
  w.add(running(training, 10));
  w.add(running(training, 10));
  w.add(running(training, 10));
  w.add(evicted(inference, 60));
  w.state.clients[2].lease_ended = w.now - 3 * second;
  w.state.clients[3].lease_ended = w.now - 9 * second;
  w.state.clients[4].lease_ended = w.now - 1 * second;
  w.ask();
  blocked(w, 5);
  w.ask();
  all_drained(w);
  w.ask();  // 50 are there, 19 may stay
  CHECK(quota(w, 3) == 0);
  CHECK(quota(w, 2) == 0);
  CHECK(quota(w, 4) == 0);
  CHECK(quota(w, 1) == 9 * G);
  CHECK(quota(w, 0) == 10 * G);
  CHECK(gate(w, 0) == GateState::open);  // all of it fits beside the holder
}

TEST_CASE("all victims are chosen before the first byte moves, and a slow one is not replaced by another") {
  World w = card();
  w.add(running(training, 30));
  w.add(running(interactive, 30));
  w.add(evicted(inference, 40));
  w.ask();
  blocked(w, 2);
  w.ask();
  CHECK(w.state.clients[0].reason == Reason::request);
  all_drained(w);
  w.state.clients[0].phase.phase = Phase::draining;
  w.ask();
  CHECK(quota(w, 0) == 30 * G);
  CHECK(quota(w, 1) == 30 * G);
  CHECK(w.state.clients[2].reason == Reason::draining);
  w.state.clients[0].phase.phase = Phase::drained;
  w.ask();
  CHECK(quota(w, 0) == 9 * G);
  CHECK(quota(w, 1) == 30 * G);
}

TEST_CASE("less than a chunk is not given, unless it is the rest") {
  World w = card();
  w.state.gpu.chunk = 1 * G;
  w.add(running(training, 79));
  w.add(evicted(inference, 10));
  w.ask();
  blocked(w, 1);
  w.ask();
  all_drained(w);
  w.ask();
  all_drained(w);
  Client& t = w.state.clients[0];
  t.resident = 79 * G - G / 2;
  w.ask();
  CHECK(quota(w, 1) == 0);
  t.resident = 78 * G;
  w.ask();
  CHECK(quota(w, 1) == 1 * G);
  t.resident = 70 * G + G / 2;
  w.ask();
  CHECK(quota(w, 1) == 8 * G + G / 2);
  t.resident = 70 * G;
  w.ask();
  CHECK(quota(w, 1) == 8 * G + G / 2);
  t.resident = 69 * G;
  w.ask();
  CHECK(quota(w, 1) == 10 * G);
}

TEST_CASE("a service that grows on the card gets free memory at once, then more from those who are already drained") {
  World w = card();
  w.add(running(training, 60), {.busy = true});
  w.add(evicted(inference, 30));
  w.step();
  blocked(w, 1);
  w.actors[1].busy = true;
  REQUIRE(w.until([&] { return w.actors[1].ran > 3; }, 100));
  REQUIRE(w.state.clients[0].resident == 49 * G);
  w.state.gpu.foreign = 0;
  w.allocate(1, 35 * G);
  const Said said = asked(w);
  CHECK(std::find(said.begin(), said.end(), "quota 1 44G (request)") != said.end());
  CHECK(w.until([&] { return w.state.clients[1].resident == 35 * G; }, 50));
  CHECK(w.state.clients[0].resident == 44 * G);
  CHECK(has_lease(w, 1));
}

TEST_CASE("a fill is called off when a higher class needs the memory, and given on only when that has been seen") {
  World w = card();
  w.add(evicted(training, 60), {.busy = true});
  w.add(evicted(inference, 50));
  w.step();
  REQUIRE(quota(w, 0) >= 60 * G);
  w.steps(20);
  const Bytes filled = w.state.clients[0].resident;
  REQUIRE(filled > 10 * G);
  REQUIRE(filled < 29 * G);
  blocked(w, 1);
  w.ask();
  CHECK(quota(w, 0) == filled);
  CHECK(quota(w, 1) <= 79 * G - 60 * G);
  w.state.clients[0].quota_high = filled;
  w.ask();
  CHECK(quota(w, 1) == 50 * G);
}

TEST_CASE("foreign memory evicts nobody who has all he needs, and holds back who does not") {
  World w = trainer_and_service(60, 10);
  w.state.gpu.foreign = 30 * G;
  w.steps(5);
  CHECK(w.state.clients[0].resident == 60 * G);
  CHECK(w.state.clients[1].resident == 10 * G);
  CHECK(gate(w, 0) == GateState::open);
  CHECK(gate(w, 1) == GateState::closed);

  SUBCASE("a service that needs memory then gets it from the trainer, with what the others took") {
    w.state.clients[1].resident = w.state.clients[1].quota_high = 0;
    w.state.clients[1].quota = 0;
    w.state.clients[1].whole_since = 0;
    blocked(w, 1);
    CHECK(w.until([&] { return w.state.clients[1].resident == 10 * G; }, 200));
    CHECK(w.state.clients[0].resident == 39 * G);
  }
}

TEST_CASE("who needs more than the card can give waits with that reason, is named once, and disturbs nobody") {
  World w = card();
  w.add(running(training, 40), {.busy = true});
  w.add(evicted(inference, 90));
  w.step();
  blocked(w, 1);
  const Said said = asked(w);
  CHECK(w.state.clients[1].reason == Reason::does_not_fit);
  CHECK(w.state.clients[1].stuck == Reason::does_not_fit);
  w.steps(20);
  CHECK(w.actors[0].ran == 21);
  CHECK(w.last.empty());
  w.state.clients[1].needed = 70 * G;
  CHECK(asked(w).front() == "end 1 (request)");
  CHECK(w.state.clients[1].stuck == Reason::none);
}

TEST_CASE("native memory is charged to everybody, and cannot be taken") {
  World w = card();
  w.state.gpu.native_reserve = 1 * G;
  w.add(running(training, 30), {.busy = true});
  w.state.clients[0].native = 5 * G;
  w.add(evicted(inference, 60));
  w.step();
  blocked(w, 1);
  CHECK(w.until([&] { return w.state.clients[1].resident == 60 * G; }, 200));
  CHECK(w.state.clients[0].resident == 13 * G);  // 79 - 60 - 5 - 1
  CHECK(free_now(w.state) == 0);
}

TEST_CASE("memory that cannot leave stays, and those who can make room instead") {
  World w = card();
  w.add(running(training, 30));
  w.add(running(training, 30));
  w.state.clients[0].unevictable = true;
  w.add(evicted(inference, 40));
  w.ask();
  blocked(w, 2);
  CHECK(w.until([&] { return w.state.clients[2].resident == 40 * G; }, 200));
  CHECK(w.state.clients[0].resident == 30 * G);
  CHECK(w.state.clients[1].resident == 9 * G);
}

TEST_CASE("clients that were on the card before the broker keep what they have and go on") {
  World w = card();
  w.add(running(inference, 20), {.busy = true});
  w.add(running(training, 50), {.busy = true});
  w.ask();
  CHECK(quota(w, 0) >= 20 * G);
  CHECK(quota(w, 1) >= 50 * G);
  CHECK(gate(w, 1) == GateState::open);
}

TEST_CASE("sizes that cannot be true do not overflow a sum") {
  World w = trainer_and_service(40, 20);
  Client& liar = w.add({.klass = training, .resident = ~Bytes{0}, .needed = ~Bytes{0}, .native = ~Bytes{0}});
  liar.quota_high = ~Bytes{0};
  w.ask();
  CHECK(free_now(w.state) == 0);
  blocked(w, 1);
  w.ask();
  CHECK(gate(w, 1) == GateState::open);  // it had its memory already
}

}  // namespace
}  // namespace lull::policy

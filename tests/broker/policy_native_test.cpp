// Native memory: a call of the driver's that finds none asks for room. Sizes are in GiB; the card has 79 to give.
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

bool given(const World& w, std::size_t index) { return !w.actors[index].asks; }

TEST_CASE("room for native memory comes from a paused trainer, as much as is wanted") {
  World w = trainer_and_service(60, 19);
  w.ask_native(1, 2 * G);
  REQUIRE(w.until([&] { return given(w, 1); }, 50));
  const Client& service = w.state.clients[1];
  CHECK(service.native_given == 2 * G);
  CHECK(service.native_floor == 2 * G);
  CHECK(service.native_refused == 0);
  CHECK(service.resident == 19 * G);
  CHECK(w.state.clients[0].resident == 58 * G);
  // It stays charged: the trainer does not get it back when it has its turn again.
  w.actors[1].busy = false;
  wait(w, 60 * second);
  REQUIRE(has_lease(w, 0));
  CHECK(w.state.clients[0].resident + w.state.clients[1].resident == 77 * G);
}

TEST_CASE("what is free, and what its own quota has to spare, needs no eviction") {
  World w = card();
  w.state.rules.growth_headroom = 4 * G;
  w.add(running(training, 70), {.busy = true});
  w.steps(3);
  REQUIRE(w.state.clients[0].quota == 74 * G);
  w.ask_native(0, 3 * G);
  w.ask();
  CHECK(w.state.clients[0].native_given == 3 * G);
  w.steps(3);
  w.ask_native(0, 2 * G);  // 2 are free, and 4 in the quota
  REQUIRE(w.until([&] { return given(w, 0); }, 10));
  CHECK(w.state.clients[0].resident == 70 * G);
  CHECK(gate(w, 0) == GateState::open);
}

TEST_CASE("a charge that has been measured is built on, and giving back ends it") {
  World w = card();
  w.state.gpu.native_reserve = 1 * G;
  w.add(running(training, 10), {.busy = true});
  w.state.clients[0].native = 3 * G;
  w.steps(2);
  w.ask_native(0, 2 * G);
  REQUIRE(w.until([&] { return given(w, 0); }, 10));
  CHECK(native_charge(w.state.clients[0], w.state.gpu) == 5 * G);
  w.state.clients[0].native = 5 * G;  // it has been used, and is not charged twice
  w.step();
  CHECK(native_charge(w.state.clients[0], w.state.gpu) == 5 * G);
  w.state.clients[0].native = 3 * G;
  w.state.clients[0].native_wanted = 0;
  w.step();
  CHECK(native_charge(w.state.clients[0], w.state.gpu) == 3 * G);
}

TEST_CASE("a trainer waits for its turn behind a closed gate, and a service is not asked to make room before") {
  World w = trainer_and_service(40, 39);
  blocked(w, 1);
  w.actors[1].busy = true;
  w.steps(5);
  REQUIRE(has_lease(w, 1));
  w.ask_native(0, 2 * G);
  w.steps(50);
  CHECK(gate(w, 0) == GateState::closed);
  CHECK_FALSE(given(w, 0));
  CHECK(w.state.clients[1].resident == 39 * G);
  w.actors[1].busy = false;
  wait(w, 60 * second);
  CHECK(given(w, 0));
  CHECK(w.state.clients[0].resident == 40 * G);
  CHECK(w.state.clients[1].resident == 37 * G);
}

TEST_CASE("what the card cannot hold is refused at once, and so is what nobody can check") {
  World w = card();
  w.add(running(training, 77), {.busy = true});
  w.steps(3);
  w.ask_native(0, 3 * G);
  w.ask();
  CHECK(w.state.clients[0].native_refused == 3 * G);
  w.steps(2);
  REQUIRE(w.state.clients[0].native_wanted == 0);
  CHECK(w.state.clients[0].native_refused == 0);
  w.allocate(0, 10 * G);
  w.ask_native(0, 5 * G);
  REQUIRE(w.until([&] { return given(w, 0); }, 10));
  CHECK(w.state.clients[0].native_given == 5 * G);
  w.ask_native(0, 1 * G);  // more than a sixteenth of the card by its word alone
  w.ask();
  CHECK(w.state.clients[0].native_refused == 6 * G);
  w.steps(2);
  w.state.clients[0].native = 5 * G;
  w.ask_native(0, 1 * G);
  REQUIRE(w.until([&] { return given(w, 0); }, 10));
  CHECK(w.state.clients[0].native_given == 6 * G);
}

TEST_CASE("what is prevented only by room that is kept free for others is waited for, not refused") {
  World w = card();
  w.add(running(training, 40), {.busy = true});
  w.steps(3);
  w.state.gpu.kept_free = 38 * G;
  w.ask_native(0, 2 * G);
  w.steps(50);
  CHECK_FALSE(given(w, 0));
  CHECK(w.state.clients[0].native_refused == 0);
  CHECK(w.state.clients[0].reason == Reason::kept_free);
  CHECK(w.state.clients[0].resident == 40 * G);
  w.state.gpu.kept_free = 0;
  REQUIRE(w.until([&] { return given(w, 0); }, 200));
  CHECK(w.state.clients[0].native_given == 2 * G);
}

TEST_CASE("a restore that finds no memory gets room from others, or is said not to fit") {
  World w = trainer_and_service(70, 20);
  blocked(w, 1);
  w.actors[1].cannot = Overdue::no_device_memory;
  REQUIRE(w.until([&] { return has_lease(w, 1) && w.state.clients[1].resident == 20 * G; }, 100));
  Client& service = w.state.clients[1];
  service.resident = 19 * G;  // the last chunk finds no room
  service.phase = {service.gate.generation, Phase::overdue, Overdue::no_device_memory};
  service.native_wanted = 1 * G;
  w.steps(20);
  CHECK(service.native_given == 1 * G);
  CHECK(w.state.clients[0].resident == 58 * G);
  w.remove(0);
  Client& alone = w.state.clients[0];
  alone.resident = 19 * G;
  alone.phase = {alone.gate.generation, Phase::overdue, Overdue::no_device_memory};
  alone.native_wanted = 60 * G;
  w.ask();
  CHECK(alone.native_refused == 60 * G);
  CHECK(alone.stuck == Reason::does_not_fit);
  CHECK(alone.reason == Reason::does_not_fit);
}

}  // namespace
}  // namespace lull::policy

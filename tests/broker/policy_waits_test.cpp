// Waits that do not end by themselves, and their names: memory of other programs, room that is kept free, reserves that
// are too small, starvation. Sizes are in GiB; the card has 79 to give.
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

bool said(const World& w, const char* what) {
  const Said words = describe(w.last, w.now);
  return std::find(words.begin(), words.end(), what) != words.end();
}

TEST_CASE("who would fit but for something is told what") {
  struct Row {
    Bytes needed, foreign, kept_free, native_over;  // the card has 79
    Reason reason;
  };
  const Row rows[] = {
      {79, 0, 0, 0, Reason::request},
      {80, 0, 0, 0, Reason::does_not_fit},
      {70, 10, 0, 0, Reason::blocked_by_foreign},
      {69, 10, 0, 0, Reason::request},
      {70, 0, 10, 0, Reason::kept_free},
      {75, 10, 5, 0, Reason::blocked_by_foreign},
      {70, 5, 10, 0, Reason::kept_free},
      {78, 0, 0, 2, Reason::over_reserve},
      {78, 5, 0, 2, Reason::over_reserve},
      {80, 5, 5, 2, Reason::does_not_fit},
  };
  for (const Row& row : rows) {
    World w = card();
    w.add(evicted(inference, row.needed));
    Client& other = w.add(evicted(training, 1));
    other.native = row.native_over * G;
    w.state.gpu.foreign = row.foreign * G;
    w.state.gpu.kept_free = row.kept_free * G;
    w.step();
    blocked(w, 0);
    w.ask();
    const bool waits = gate(w, 0) == GateState::closed;
    CHECK(waits == (row.reason != Reason::request));
    if (waits) CHECK(w.state.clients[0].reason == row.reason);
    const bool at_once = row.reason == Reason::does_not_fit || row.reason == Reason::over_reserve;
    CHECK(w.state.clients[0].stuck == (at_once ? row.reason : Reason::none));
  }
}

TEST_CASE("a restore that memory of other programs holds up goes on when it has gone, and is said after a minute") {
  World w = card();
  w.add(evicted(training, 60), {.busy = true});
  w.state.gpu.foreign = 30 * G;
  w.step();
  const Time start = w.now;
  CHECK(w.state.clients[0].reason == Reason::blocked_by_foreign);
  CHECK(w.state.clients[0].stuck == Reason::none);
  wait(w, 59 * second);
  CHECK(w.state.clients[0].stuck == Reason::none);
  CHECK(w.state.clients[0].reason_since == start);
  wait(w, 1 * second);
  CHECK(w.state.clients[0].stuck == Reason::blocked_by_foreign);
  w.state.gpu.foreign = 19 * G;
  CHECK(w.until([&] { return w.actors[0].ran > 0; }, 200));
  CHECK(w.state.clients[0].stuck == Reason::none);
}

TEST_CASE("memory that the card refuses although it was promised is somebody else's") {
  World w = card();
  w.add(running(training, 10), {.busy = true});
  w.steps(3);
  w.allocate(0, 30 * G);
  w.ask();
  w.state.clients[0].phase = {w.state.clients[0].gate.generation, Phase::overdue, Overdue::no_device_memory};
  w.ask();
  CHECK(gate(w, 0) == GateState::open);  // its shim tries again
  CHECK(w.state.clients[0].reason == Reason::blocked_by_foreign);
}

TEST_CASE("room that is kept free is made: the lowest class leaves, only by what is lacking, and comes back after it") {
  World w = trainer_and_service(60, 15);
  w.state.gpu.kept_free = 20 * G;
  CHECK(w.until([&] { return free_now(w.state) >= 20 * G; }, 200));
  CHECK(w.state.clients[0].resident == 44 * G);
  CHECK(w.state.clients[1].resident == 15 * G);
  CHECK(gate(w, 0) == GateState::closed);
  CHECK(w.state.clients[0].reason == Reason::kept_free);
  blocked(w, 1);
  w.ask();
  CHECK(has_lease(w, 1));
  CHECK(gate(w, 1) == GateState::open);
  w.state.clients[1].wants = false;
  w.state.gpu.kept_free = 0;
  CHECK(w.until([&] { return w.state.clients[0].resident == 60 * G; }, 5000));
  CHECK(w.until([&] { return gate(w, 0) == GateState::open; }, 100));
}

TEST_CASE("a program alone on the card leaves it, too, when room is asked for") {
  World w = card();
  w.add(running(training, 70), {.busy = true});
  w.steps(3);
  w.state.gpu.kept_free = 30 * G;
  CHECK(w.until([&] { return w.state.clients[0].resident == 49 * G; }, 200));
  CHECK(w.state.clients[0].reason == Reason::kept_free);
  w.steps(100);
  CHECK(w.state.clients[0].resident == 49 * G);
  CHECK_FALSE(has_lease(w, 0));
}

TEST_CASE("room that fits beside everybody moves nothing") {
  World w = trainer_and_service(50, 10);
  w.state.gpu.kept_free = 19 * G;
  w.steps(20);
  CHECK(w.state.clients[0].resident == 50 * G);
  CHECK(w.state.clients[1].resident == 10 * G);
  CHECK(gate(w, 0) == GateState::open);
}

TEST_CASE("training that has waited for ten minutes without a break says so, once, until it runs") {
  World w = trainer_and_service(60, 30);
  w.arrive(1, true);
  w.actors[1].busy = true;
  w.step_time = 1 * second;
  w.steps(3);
  REQUIRE(gate(w, 0) == GateState::closed);
  unsigned times = 0;
  for (unsigned n = 0; n < 700; ++n) {
    w.step();
    times += said(w, "stuck 1 (training_starved)");
    CHECK((w.state.clients[0].stuck == Reason::training_starved) ==
          (w.now - w.state.clients[0].gate_since >= 600 * second));
  }
  CHECK(times == 1);
  w.actors[1].busy = false;
  w.answer(1);
  CHECK(w.until([&] { return gate(w, 0) == GateState::open; }, 100));
  CHECK(w.state.clients[0].stuck == Reason::none);
}

TEST_CASE("an interactive program that computes for ten minutes takes turns with training until it is idle") {
  World w = card();
  w.add(running(training, 60), {.moves = 60 * G, .busy = true});
  w.add(evicted(interactive, 40), {.moves = 60 * G});
  w.step_time = 1 * second;
  w.steps(3);
  w.actors[1].busy = true;
  const Time start = w.now;
  REQUIRE(w.until([&] { return w.actors[1].ran > 0; }, 100));
  const auto trained = w.actors[0].ran;
  CHECK(w.until([&] { return w.actors[0].ran > trained; }, 2000));
  CHECK(w.now - start >= 600 * second);
  CHECK(w.now - start < 630 * second);
  w.steps(300);  // it waits for its turn, which is no pause of its own
  CHECK(has_lease(w, 0));
  CHECK(w.state.clients[1].reason == Reason::peer_turn);

  SUBCASE("it gets its turn as a trainer would") {
    CHECK(w.until([&] { return has_lease(w, 1); }, 400));
  }
  SUBCASE("after a pause of its own it is interactive again") {
    w.actors[1].busy = false;
    w.state.clients[1].wants = false;
    w.steps(15);
    w.actors[1].busy = true;
    w.steps(3);
    CHECK(has_lease(w, 1));
  }
}

}  // namespace
}  // namespace lull::policy

// What goes wrong: signals behind the gate, work that does not end, copies that fail, programs that are stopped or
// only starting. Sizes are in GiB; the card has 79 to give.
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

void signalled(World& w, std::size_t index) {
  Client& c = w.state.clients[index];
  c.interrupted = true;
  c.interrupted_since = w.now;
}

// A trainer paused and partly evicted by a busy service with a request that does not end.
World paused_trainer() {
  World w = trainer_and_service(60, 30);
  w.arrive(1, true);
  w.actors[1].busy = true;
  w.step_time = 10 * ms;
  w.until([&] { return w.actors[1].ran > 5; }, 200);
  return w;
}

TEST_CASE("a program with a signal behind its gate gets the card within two seconds, though a request runs") {
  World w = paused_trainer();
  signalled(w, 0);
  const Time start = w.now;
  w.step();
  CHECK(has_lease(w, 1));
  CHECK(w.until([&] { return has_lease(w, 0); }, 300));
  CHECK(w.now - start == 2 * second);
  CHECK(w.state.clients[0].reason != Reason::request);

  SUBCASE("for a minute in all") {
    CHECK(w.until([&] { return has_lease(w, 1); }, 7000));
    CHECK(w.state.clients[0].exit_grace_spent == 60 * second);
    signalled(w, 0);
    w.steps(500);
    CHECK(has_lease(w, 1));
  }
  SUBCASE("or until it has nothing more to do there") {
    REQUIRE(w.until([&] { return w.state.clients[0].whole_since != 0; }, 300));
    w.actors[0].busy = false;
    CHECK(w.until([&] { return has_lease(w, 1); }, 110));
    w.actors[0].busy = true;  // a second burst of what it saves
    CHECK(w.until([&] { return has_lease(w, 0); }, 310));
    CHECK(w.state.clients[0].exit_grace_spent < 3 * second);
  }
}

TEST_CASE("a signal does not wait for a service that only lingers") {
  World w = paused_trainer();
  w.actors[1].busy = false;
  w.answer(1);
  w.steps(20);
  signalled(w, 0);
  w.step();
  CHECK(has_lease(w, 0));
}

TEST_CASE("a victim that cannot drain is let go, for twice as long each time") {
  World w = trainer_and_service(60, 30);
  w.actors[0].cannot = Overdue::stream_busy;
  w.arrive(1, true);
  w.actors[1].busy = true;
  std::vector<Time> waits;
  for (unsigned n = 0; n < 100000 && waits.size() < 8; ++n) {
    w.step_time = 10 * ms;
    w.step();
    for (const Decision& d : w.last)
      if (const auto* let_go = std::get_if<LetGo>(&d)) {
        waits.push_back(let_go->until - w.now);
        CHECK(gate(w, 0) == GateState::open);
        CHECK(w.state.clients[0].reason == Reason::overdue);
        CHECK(w.state.clients[1].reason == Reason::overdue);
      }
    w.state.clients[1].last_arrival = w.now;
  }
  CHECK(waits == std::vector<Time>{500 * ms, 1 * second, 2 * second, 4 * second, 8 * second, 16 * second, 32 * second,
                                   60 * second});
  CHECK(w.state.clients[0].stuck == Reason::overdue);
  CHECK(w.state.clients[0].resident == 60 * G);

  SUBCASE("and when it drains at last the service runs, and nobody is stuck") {
    w.actors[0].cannot = Overdue::none;
    CHECK(w.until([&] { return w.actors[1].ran > 0; }, 20000));
    CHECK(w.state.clients[0].stuck == Reason::none);
  }
}

TEST_CASE("nobody is let in beside a program that was let go, unless everything fits") {
  World w = card();
  w.add(running(training, 60), {.busy = true});
  w.add(evicted(inference, 30));
  w.add(evicted(inference, 10));
  w.step();
  w.state.clients[0].overdue_until = w.now + 5 * second;
  blocked(w, 1);
  w.ask();
  CHECK(has_lease(w, 1));
  CHECK(gate(w, 1) == GateState::closed);
  CHECK(w.state.clients[1].reason == Reason::overdue);
  CHECK(*w.state.clients[1].quota > 18 * G);  // it comes in meanwhile as far as there is room
  w.state.clients[1].wants = false;
  w.state.clients[1].needed = 15 * G;
  w.ask();
  CHECK(gate(w, 1) == GateState::open);
}

TEST_CASE("a service that fits runs although the trainer's work does not end") {
  World w = trainer_and_service(40, 20);
  w.actors[0].cannot = Overdue::thread_inside;
  w.arrive(1, true);
  w.actors[1].busy = true;
  w.steps(20);
  CHECK(w.actors[1].ran == 20);
  CHECK(gate(w, 0) == GateState::open);  // let go: a thread inside may wait for another that is not let in
}

TEST_CASE("a paused trainer that fits is not let go for a kernel that is still running") {
  World w = trainer_and_service(40, 20);
  w.actors[0].cannot = Overdue::stream_busy;
  w.arrive(1, true);
  w.actors[1].busy = true;
  w.steps(20);
  CHECK(gate(w, 0) == GateState::closed);
  CHECK(w.actors[1].ran == 20);
}

TEST_CASE("when a copy fails the gate stays shut, others make room, and it is named after a minute") {
  World w = card();
  w.step_time = 100 * ms;
  w.add(running(training, 30), {.busy = true});
  w.add(running(training, 30), {.busy = true, .cannot = Overdue::copy_failed});  // the first to go
  w.add(evicted(inference, 40));
  w.steps(3);
  w.arrive(2, true);
  w.actors[2].busy = true;
  CHECK(w.until([&] { return w.actors[2].ran > 0; }, 100));
  CHECK(w.state.clients[1].resident == 30 * G);
  CHECK(w.state.clients[0].resident == 9 * G);
  CHECK(w.until([&] { return w.state.clients[1].stuck == Reason::overdue; }, 620));
  CHECK(gate(w, 1) == GateState::closed);
}

TEST_CASE("a starting service waits until the trainer has had its time, and loads before it") {
  World w = card();
  w.add(running(training, 70), {.busy = true});
  w.steps(3);
  w.add({.klass = inference, .loading = true});
  w.steps(3);
  w.allocate(1, 40 * G);
  w.step();
  CHECK(has_lease(w, 0));
  CHECK(w.state.clients[1].reason == Reason::loading);
  w.step_time = 100 * ms;
  const Time since = w.state.clients[0].lease_since;
  CHECK(w.until([&] { return has_lease(w, 1); }, 200));
  CHECK(w.now - since >= w.state.rules.min_hold);
  CHECK(w.now - since < w.state.rules.min_hold + 200 * ms);
  CHECK(w.until([&] { return w.state.clients[1].resident == 40 * G; }, 100));

  SUBCASE("over gaps of less than ten seconds") {
    w.steps(90);
    CHECK(has_lease(w, 1));
    CHECK(w.until([&] { return has_lease(w, 0); }, 20));
  }
  SUBCASE("but for no longer than five minutes") {
    w.actors[1].busy = true;
    CHECK(w.until([&] { return w.state.clients[1].loading_spent > 0; }, 10000));
    CHECK(w.state.clients[1].loading_spent >= w.state.rules.loading_max);
    CHECK(has_lease(w, 0));
    w.steps(300);
    CHECK(has_lease(w, 0));  // from now on by turns with the trainers
  }
}

TEST_CASE("a real request interrupts a loading service") {
  World w = card();
  w.add({.klass = inference, .loading = true});
  w.add(evicted(inference, 60));
  w.ask();
  w.allocate(0, 50 * G);
  w.steps(20);
  REQUIRE(has_lease(w, 0));
  blocked(w, 1);
  w.ask();
  CHECK(has_lease(w, 1));
  CHECK(w.state.clients[0].reason == Reason::peer_turn);
}

TEST_CASE("two services that start together while a trainer has the card load one after the other, and it runs again") {
  World w = card();
  w.step_time = 100 * ms;
  w.add(running(training, 70), {.busy = true});
  w.steps(200);
  for (unsigned n = 0; n < 2; ++n) w.add({.klass = inference, .loading = true}, {.busy = true});
  w.step();
  w.allocate(1, 50 * G);
  w.allocate(2, 50 * G);
  w.step();
  CHECK(has_lease(w, 1));
  CHECK(w.state.clients[2].reason == Reason::peer_turn);
  const auto loaded = [&w](std::size_t i) { return w.actors[i].ran > 10; };
  CHECK(w.until([&] { return loaded(1); }, 200));
  CHECK_FALSE(loaded(2));
  w.actors[1].busy = false;
  CHECK(w.until([&] { return loaded(2); }, 300));
  w.actors[2].busy = false;
  const auto before = w.actors[0].ran;
  CHECK(w.until([&] { return w.actors[0].ran > before; }, 300));
}

TEST_CASE("a stopped service gives the card back, and asks again when it goes on") {
  World w = trainer_and_service(40, 20);
  w.state.clients[1].gate.state = GateState::closed;
  blocked(w, 1);
  w.actors[1].stopped = true;
  w.step_time = 100 * ms;
  w.step();
  REQUIRE(has_lease(w, 1));
  CHECK(w.until([&] { return has_lease(w, 0); }, 120));
  w.steps(300);
  CHECK(has_lease(w, 0));
  CHECK(w.actors[0].ran > 290);
  w.actors[1].stopped = false;
  w.actors[1].busy = true;
  CHECK(w.until([&] { return w.actors[1].ran > 0; }, 100));
}

TEST_CASE("memory promised to a stopped program is not promised to another") {
  World w = trainer_and_service(60, 30);
  blocked(w, 1);
  w.step_time = 100 * ms;
  w.until([&] { return *w.state.clients[1].quota > 25 * G; }, 100);
  w.actors[1].stopped = true;
  CHECK(w.until([&] { return has_lease(w, 0); }, 620));
  w.steps(100);
  CHECK(w.state.clients[0].resident < 54 * G);
  CHECK(w.until([&] { return w.state.clients[0].stuck == Reason::restoring; }, 620));
  w.actors[1].stopped = false;
  CHECK(w.until([&] { return w.state.clients[0].resident == 60 * G; }, 100));
}

TEST_CASE("a stopped trainer that has the memory is named after a minute") {
  World w = trainer_and_service(60, 30);
  w.actors[0].stopped = true;
  w.step_time = 100 * ms;
  w.arrive(1, true);
  blocked(w, 1);
  w.steps(590);
  CHECK(w.state.clients[0].stuck == Reason::none);
  blocked(w, 1);
  CHECK(w.until([&] { return w.state.clients[0].stuck == Reason::overdue; }, 30));
}

TEST_CASE("a holder that cannot get its memory together lets others go first for a while") {
  World w = card();
  w.step_time = 100 * ms;
  w.add(running(training, 20), {.busy = true});
  w.add(evicted(inference, 70), {.moves = 0, .busy = true});
  w.step();
  REQUIRE(has_lease(w, 1));
  CHECK(w.until([&] { return has_lease(w, 0); }, 620));
  const auto before = w.actors[0].ran;
  w.steps(590);
  CHECK(has_lease(w, 0));
  CHECK(w.actors[0].ran > before + 500);
  CHECK(w.until([&] { return has_lease(w, 1); }, 30));
}

TEST_CASE("a reason alone does not raise the gate's generation") {
  Client c{.id = 7};
  remember(c, SetGate{7, GateState::closed, Reason::request}, 5);
  CHECK(c.gate == GateWord{1, GateState::closed});
  CHECK(c.gate_since == 5);
  remember(c, SetGate{7, GateState::closed, Reason::lingering}, 9);
  CHECK(c.gate == GateWord{1, GateState::closed});
  CHECK(c.gate_since == 5);
  CHECK(c.reason == Reason::lingering);
}

}  // namespace
}  // namespace lull::policy

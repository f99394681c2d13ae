// What an owner says by hand: pause, release, hold. Sizes are in GiB; the card has 79 to give.
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

void say(World& w, std::size_t index, Order order, Time until = never) {
  w.state.clients[index].order = order;
  w.state.clients[index].order_until = until;
}

Reason reason(const World& w, std::size_t index) { return w.state.clients[index].reason; }
Bytes resident(const World& w, std::size_t index) { return w.state.clients[index].resident; }
bool open(const World& w, std::size_t index) { return gate(w, index) == GateState::open; }

World one_trainer(Bytes gib) {
  World w = card();
  w.add(running(training, gib), {.busy = true});
  w.now += 3600 * second;
  w.steps(3);
  return w;
}

TEST_CASE("who is paused by its owner is closed, keeps its memory while nobody wants it, and stays closed") {
  World w = one_trainer(60);
  REQUIRE(open(w, 0));
  say(w, 0, Order::pause);
  CHECK(asked(w) == Said{"end 1 (owner_pause)", "close 1 (owner_pause)", "wake +10000ms"});
  const auto ran = w.actors[0].ran;
  wait(w, 3600 * second);
  CHECK(w.actors[0].ran == ran);
  CHECK(resident(w, 0) == 60 * G);
  CHECK(reason(w, 0) == Reason::owner_pause);
  CHECK(w.state.clients[0].stuck == Reason::none);
  say(w, 0, Order::none);
  CHECK(w.until([&] { return w.actors[0].ran > ran; }, 20));
}

TEST_CASE("a pause with a time ends by itself") {
  World w = one_trainer(60);
  say(w, 0, Order::pause, w.now + 100 * second);
  w.ask();
  wait(w, 99 * second);
  CHECK(gate(w, 0) == GateState::closed);
  wait(w, 1 * second);
  CHECK(open(w, 0));
}

TEST_CASE("memory of who is paused by its owner goes first, and only as much as another lacks") {
  World w = card();
  w.add(running(training, 30), {.busy = true});
  w.add(running(inference, 40));
  w.steps(3);
  w.add(evicted(training, 20), {.busy = true});
  say(w, 1, Order::pause);
  CHECK(w.until([&] { return w.actors[2].ran > 0; }, 200));
  CHECK(resident(w, 0) == 30 * G);
  CHECK(resident(w, 1) == 29 * G);
  CHECK(reason(w, 1) == Reason::owner_pause);
}

TEST_CASE("who is released leaves the card at once although nobody wants it, and gets all back") {
  World w = one_trainer(60);
  w.add(running(inference, 10));
  w.steps(3);
  say(w, 0, Order::release);
  CHECK(w.until([&] { return resident(w, 0) == 0; }, 200));
  CHECK(reason(w, 0) == Reason::owner_release);
  CHECK(resident(w, 1) == 10 * G);
  CHECK(free_now(w.state) >= 60 * G);
  wait(w, 3600 * second);
  CHECK(resident(w, 0) == 0);
  const auto ran = w.actors[0].ran;
  say(w, 0, Order::none);
  CHECK(w.until([&] { return w.actors[0].ran > ran; }, 200));
  CHECK(resident(w, 0) == 60 * G);
}

TEST_CASE("a release that cannot be carried out stays one of memory that is there, and is told") {
  World w = one_trainer(60);
  w.actors[0].cannot = Overdue::no_backing;
  say(w, 0, Order::release);
  wait(w, 120 * second);
  CHECK(resident(w, 0) == 60 * G);
  CHECK(gate(w, 0) == GateState::closed);
  CHECK(w.state.clients[0].stuck == Reason::overdue);
}

TEST_CASE("a request for a service that its owner has paused disturbs nobody") {
  World w = trainer_and_service(60, 10);
  say(w, 1, Order::pause);
  w.ask();
  for (const bool proven : {false, true}) {
    w.arrive(1, proven);
    blocked(w, 1);
    for (int n = 0; n < 100; ++n) {
      w.step();
      CHECK(open(w, 0));
      CHECK(gate(w, 1) == GateState::closed);
    }
    CHECK(w.state.clients[0].drain_limit_us == w.state.rules.drain_limit_us);
  }
  say(w, 1, Order::none);
  w.ask();
  CHECK(has_lease(w, 1));
}

TEST_CASE("a signal behind the gate gets the card although the owner has paused or released the program") {
  for (const Order order : {Order::pause, Order::release}) {
    World w = one_trainer(60);
    say(w, 0, order);
    wait(w, 100 * second);
    REQUIRE(gate(w, 0) == GateState::closed);
    const auto ran = w.actors[0].ran;
    w.state.clients[0].interrupted = true;
    w.state.clients[0].interrupted_since = w.now;
    CHECK(w.until([&] { return w.actors[0].ran > ran; }, 200));
    CHECK(w.state.clients[0].lease_reason == Reason::exit_grace);
    wait(w, w.state.rules.exit_grace + 1 * second);
    CHECK(gate(w, 0) == GateState::closed);
    CHECK(resident(w, 0) == (order == Order::pause ? 60 * G : 0));
  }
}

TEST_CASE("a gang is paused whole, and gets no slices meanwhile") {
  World w = card();
  for (int n = 0; n < 2; ++n) {
    Client c = running(training, 20);
    c.gang = 1;
    w.add(c, {.busy = true});
  }
  w.steps(5);
  REQUIRE(open(w, 0));
  REQUIRE(open(w, 1));
  say(w, 1, Order::release);
  CHECK(w.until([&] { return resident(w, 0) + resident(w, 1) == 0; }, 200));
  const auto ran = w.actors[0].ran;
  wait(w, 2 * w.state.rules.max_pause);
  CHECK(w.actors[0].ran == ran);
  CHECK(reason(w, 0) == Reason::owner_release);
  say(w, 1, Order::none);
  CHECK(w.until([&] { return w.actors[0].ran > ran && w.actors[1].ran > 0; }, 200));
}

TEST_CASE("a service that is held keeps the card from training without a request, until its time is over") {
  World w = trainer_and_service(60, 30);
  REQUIRE(has_lease(w, 0));
  say(w, 1, Order::hold, w.now + 600 * second);
  CHECK(w.until([&] { return open(w, 1) && resident(w, 1) == 30 * G; }, 200));
  const auto ran = w.actors[0].ran;
  wait(w, 590 * second);
  CHECK(w.actors[0].ran == ran);
  CHECK(has_lease(w, 1));
  CHECK(reason(w, 0) == Reason::owner_hold);
  CHECK(reason(w, 1) == Reason::owner_hold);
  CHECK(w.until([&] { return w.actors[0].ran > ran; }, 20'000));
}

TEST_CASE("a held service gives way to another's requests, and has the card again after them") {
  World w = card();
  w.add(running(inference, 60));
  w.add(evicted(inference, 60));
  say(w, 0, Order::hold);
  w.steps(3);
  REQUIRE(has_lease(w, 0));
  w.arrive(1, true);
  w.actors[1].busy = true;
  CHECK(w.until([&] { return w.actors[1].ran > 3; }, 500));
  w.actors[1].busy = false;
  w.answer(1);
  CHECK(w.until([&] { return has_lease(w, 0) && open(w, 0) && resident(w, 0) == 60 * G; }, 40'000));
}

TEST_CASE("a held trainer has no turns with its like, and two that are held do not swap") {
  World w = card();
  w.add(running(training, 60), {.busy = true});
  w.add(evicted(training, 60), {.busy = true});
  w.steps(3);
  REQUIRE(has_lease(w, 0));
  say(w, 1, Order::hold, w.now + 7200 * second);
  CHECK(w.until([&] { return w.actors[1].ran > 0; }, 500));
  const auto ran = w.actors[0].ran;
  say(w, 0, Order::hold, w.now + 3600 * second);
  wait(w, 7000 * second);
  CHECK(has_lease(w, 1));
  CHECK(w.actors[0].ran == ran);
  wait(w, 2000 * second);
  CHECK(w.actors[0].ran > ran);
}

}  // namespace
}  // namespace lull::policy

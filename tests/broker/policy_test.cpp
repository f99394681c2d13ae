// Who has the card: leases, lingering, turns. Sizes are in GiB; the card has 79 to give.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

TEST_CASE("a trainer alone runs, with headroom to grow") {
  World w = card();
  w.add(running(training, 60));
  CHECK(asked(w) == Said{"quota 1 60.25G (only_tenant)", "open 1 (only_tenant)", "lease 1 (only_tenant)",
                         "wake +10000ms"});  // by then it has answered, or it is stopped
  w.react();
  CHECK(asked(w) == Said{});
}

TEST_CASE("a request for a service that fits pauses the trainer without moving memory or waiting for its drain") {
  World w = trainer_and_service(40, 20);
  w.arrive(1, true);
  CHECK(asked(w) == Said{"end 1 (request)", "lease 2 (request)", "close 1 (request)", "arm 1 2000us",
                         "open 2 (request)", "wake +1000ms"});
  w.actors[1].busy = true;
  w.steps(5);
  CHECK(w.actors[1].ran == 5);
  CHECK(w.state.clients[0].resident == 40 * G);

  SUBCASE("and the trainer runs again as soon as the service is idle, though the lease lingers") {
    w.actors[1].busy = false;
    w.answer(1);
    CHECK(w.until([&] { return gate(w, 0) == GateState::open; }, 60));
    CHECK(has_lease(w, 1));
    CHECK(w.now - w.state.clients[1].last_submission == w.state.rules.yield_idle);
  }
}

TEST_CASE("a request for a service that does not fit takes only what it lacks, only after the drain, piece by piece") {
  World w = card();
  w.add(running(training, 60), {.busy = true});
  w.add(evicted(inference, 30));
  w.step();
  w.arrive(1, true);
  CHECK(asked(w) == Said{"end 1 (request)", "lease 2 (request)", "close 1 (request)", "quota 1 60G (request)",
                         "quota 2 18.75G (draining)", "open 2 (draining)", "arm 1 2000us", "wake +1000ms"});
  Client& t = w.state.clients[0];
  t.seen_gate = t.gate;
  t.quota_high = 60 * G;
  t.phase = {t.gate.generation, Phase::draining, Overdue::none};
  CHECK(asked(w) == Said{"quota 2 19G (draining)", "wake +1000ms"});
  t.phase.phase = Phase::drained;
  CHECK(asked(w) == Said{"quota 1 49G (request)", "open 2 (evicting)", "wake +1000ms"});
  t.quota_high = 49 * G;
  t.resident = 55 * G;
  CHECK(asked(w) == Said{"quota 2 24G (evicting)", "wake +1000ms"});
  t.resident = 49 * G;
  CHECK(asked(w) == Said{"quota 2 30G (restoring)", "wake +1000ms"});
}

TEST_CASE("when a lease has lingered its time the trainer's gate opens at once, and its memory follows") {
  World w = card();
  w.add(evicted(training, 60, 49), {.busy = true});
  w.add(running(inference, 30));
  w.steps(2);
  w.arrive(1, true);
  w.ask();
  REQUIRE(has_lease(w, 1));
  w.answer(1);
  blocked(w, 0);
  CHECK(asked(w) == Said{"arm 1 50000us", "close 1 (lingering)", "open 2 (lingering)", "wake +1000ms"});
  w.now += 1 * second - 1;
  CHECK(asked(w) == Said{"wake +1e-06ms"});
  w.now += 1;
  CHECK(asked(w) == Said{"end 2 (lull)", "lease 1 (lull)", "close 2 (lull)", "open 1 (draining)", "wake +10000ms"});
  Client& s = w.state.clients[1];
  s.seen_gate = s.gate;
  s.quota_high = 30 * G;
  s.phase = {s.gate.generation, Phase::drained, Overdue::none};
  CHECK(asked(w) == Said{"quota 2 19G (lull)", "open 1 (evicting)", "wake +10000ms"});
  CHECK(w.until([&] { return w.state.clients[0].resident == 60 * G; }, 100));
  CHECK(asked(w) == Said{});
}

TEST_CASE("a lease lingers for the measured round trip within its bounds, or as long as keep_alive says") {
  const auto lingers = [](Time round_trip, std::optional<Time> keep_alive) {
    World w = trainer_and_service(60, 30);
    w.state.gpu.round_trip = round_trip;
    w.state.rules.keep_alive = keep_alive;
    blocked(w, 1);
    w.until([&] { return w.state.clients[1].whole_since != 0; }, 100);
    REQUIRE(has_lease(w, 1));
    const Time start = std::max(w.state.clients[1].lease_since, w.state.clients[1].whole_since);
    for (unsigned wakes = 0; wakes < 20 && has_lease(w, 1); ++wakes) {
      const auto* wake = w.ask().empty() ? nullptr : std::get_if<WakeAt>(&w.last.back());
      if (!wake) return never;
      w.now = wake->at;
      w.ask();
    }
    return w.now - start;
  };
  CHECK(lingers(0, {}) == 1 * second);
  CHECK(lingers(4 * second, {}) == 4 * second);
  CHECK(lingers(400 * second, {}) == 30 * second);
  CHECK(lingers(4 * second, 7 * second) == 7 * second);
  CHECK(lingers(4 * second, never) == never);
}

TEST_CASE("a request in flight holds the lease against training, but not when it has been silent for long") {
  World w = trainer_and_service(60, 30);
  w.arrive(1, true);
  w.ask();
  wait(w, 29 * second);
  CHECK(has_lease(w, 1));
  wait(w, 2 * second);
  CHECK(has_lease(w, 0));
  wait(w, 100 * second);
  CHECK(has_lease(w, 0));
}

TEST_CASE("a request of a kind not proven yet holds the lease that its submission took") {
  World w = trainer_and_service(60, 30);
  w.arrive(1, false);
  blocked(w, 1);
  w.until([&] { return w.state.clients[1].whole_since != 0; }, 100);
  wait(w, 20 * second);
  CHECK(has_lease(w, 1));
  w.answer(1);
  wait(w, 2 * second);
  CHECK(has_lease(w, 0));
}

TEST_CASE("an arrival that may be nothing closes the trainer's gate for 20 ms, and again only after two seconds") {
  World w = trainer_and_service(60, 30);
  w.arrive(1, false);
  CHECK(asked(w) == Said{"close 1 (maybe_request)", "arm 1 2000us", "wake +20ms"});
  w.now += 20 * ms;
  CHECK(asked(w) == Said{"open 1 (lull)", "wake +980ms"});
  w.now += 1 * second;
  w.arrive(1, false);
  CHECK(asked(w) == Said{"wake +20ms"});
  w.now += 1 * second;
  w.arrive(1, false);
  CHECK(asked(w) == Said{"close 1 (maybe_request)", "wake +20ms"});

  SUBCASE("but when it becomes a blocked submission the service gets the card") {
    blocked(w, 1);
    CHECK(asked(w).front() == "end 1 (request)");
    CHECK(has_lease(w, 1));
  }
}

TEST_CASE("somebody who connects closes nothing, and tightens the work in flight for 200 ms") {
  World w = trainer_and_service(60, 30);
  w.state.clients[1].last_hint = w.now;
  CHECK(asked(w) == Said{"arm 1 2000us", "wake +200ms"});
  w.now += 200 * ms;
  CHECK(asked(w) == Said{"arm 1 50000us"});
}

TEST_CASE("a word that a request will come brings the memory back, and keeps it there until its time is over") {
  World w = trainer_and_service(60, 30);
  w.state.clients[1].last_arrival = w.now;
  w.state.clients[1].wake_until = w.now + 30 * second;
  w.ask();
  wait(w, 29 * second);
  CHECK(has_lease(w, 1));
  CHECK(w.state.clients[1].resident == w.state.clients[1].needed);
  wait(w, 2 * second);
  CHECK(has_lease(w, 0));
}

TEST_CASE("work in flight is bounded loosely while somebody might come, tightly while somebody does, else not at all") {
  World w = card();
  w.add(running(training, 20));
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 0);
  w.add(running(inference, 20));
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 50'000);
  w.arrive(1, true);
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 2'000);
  CHECK(w.state.clients[1].drain_limit_us == 0);
  w.answer(1);
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 50'000);
  w.state.rules.drain_limit_us = 0;
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 0);
  w.state.rules.drain_limit_us = 30'000;
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 30'000);
  w.remove(1);
  w.ask();
  CHECK(w.state.clients[0].drain_limit_us == 0);
}

TEST_CASE("services take turns in the order in which they came, when the one before is idle") {
  World w = card();
  w.add(evicted(inference, 50));
  w.add(evicted(inference, 50));
  w.add(evicted(inference, 50));
  w.ask();
  blocked(w, 1);
  w.now += 1 * ms;
  blocked(w, 2);
  w.now += 1 * ms;
  blocked(w, 0);
  w.ask();
  CHECK(has_lease(w, 1));
  CHECK(w.state.clients[2].reason == Reason::peer_turn);
  CHECK(w.until([&] { return has_lease(w, 2); }, 200));
  CHECK(w.until([&] { return has_lease(w, 0); }, 200));
}

TEST_CASE("a busy service yields to a waiting peer after its slice, which begins when its memory is there") {
  World w = card();
  w.step_time = 100 * ms;
  w.add(evicted(inference, 50), {.moves = 1 * G, .busy = true});  // 5 s to restore
  w.add(evicted(inference, 50), {.moves = 1 * G, .busy = true});
  w.step();
  CHECK(w.until([&] { return w.actors[1].ran > 0; }, 300));
  CHECK(w.actors[0].ran >= 49);
  CHECK(w.actors[0].ran <= 53);
  const auto before = w.actors[0].ran;
  CHECK(w.until([&] { return w.actors[0].ran > before; }, 300));
  CHECK(w.actors[1].ran >= 49);
  CHECK(w.actors[1].ran <= 53);
}

TEST_CASE("a service that waits for another to answer gives it the card, and gets it back when it submits again") {
  World w = card();
  w.add(evicted(inference, 50));
  w.add(evicted(inference, 50));
  w.ask();
  w.arrive(0, true);
  w.steps(60);
  REQUIRE(has_lease(w, 0));
  w.arrive(1, true);  // the first one calls the second
  CHECK(w.until([&] { return has_lease(w, 1) && w.state.clients[1].whole_since != 0; }, 200));
  w.answer(1);
  w.steps(200);
  CHECK(has_lease(w, 1));  // the first request is still in flight, but does not pull by itself
  blocked(w, 0);
  CHECK(w.until([&] { return has_lease(w, 0); }, 200));
}

TEST_CASE("inference comes before interactive, interactive before training") {
  World w = card();
  w.add(running(training, 60), {.busy = true});
  w.add(evicted(interactive, 60));
  w.add(evicted(inference, 60));
  w.step();
  blocked(w, 1);
  w.ask();
  CHECK(has_lease(w, 1));
  blocked(w, 2);
  w.ask();
  CHECK(has_lease(w, 2));
  CHECK(w.state.clients[1].reason == Reason::higher_class);
  CHECK(w.state.clients[0].reason == Reason::request);
}

TEST_CASE("trainers that do not fit together take turns by quanta") {
  World w = card();
  w.step_time = 1 * second;
  w.add(running(training, 60), {.moves = 60 * G, .busy = true});
  w.step();
  w.add({.klass = training}, {.moves = 60 * G, .busy = true});
  w.step();
  w.allocate(1, 60 * G);
  CHECK(w.until([&] { return w.actors[1].ran > 3; }, 700));
  CHECK(w.actors[0].ran >= 595);
  CHECK(w.actors[0].ran <= 603);
  const auto before = w.actors[0].ran;
  CHECK(w.until([&] { return w.actors[0].ran > before; }, 700));
  CHECK(w.actors[1].ran >= 590);
}

TEST_CASE("trainers that fit together run together, and need no turns") {
  World w = card();
  w.step_time = 1 * second;
  w.add(running(training, 30), {.busy = true});
  w.add(running(training, 40), {.busy = true});
  w.steps(3);
  REQUIRE(has_lease(w, 0));
  w.steps(2000);
  CHECK(has_lease(w, 0));
  CHECK(w.actors[0].ran == 2003);
  CHECK(w.actors[1].ran == 2003);
}

TEST_CASE("who runs beside the holder is not displaced by a peer that would fit as well") {
  World w = card();
  w.add(evicted(training, 40));
  blocked(w, 0);
  w.now += 1 * second;
  w.add(running(training, 30), {.busy = true});
  w.add(running(training, 40), {.busy = true});
  w.state.clients[1].lease_since = w.now;
  w.steps(5);
  CHECK(gate(w, 2) == GateState::open);
  CHECK(w.state.clients[0].reason == Reason::peer_turn);
}

TEST_CASE("a turn that a request cut short is resumed before anybody else's") {
  World w = card();
  w.step_time = 100 * ms;
  w.add(running(training, 60), {.moves = 60 * G, .busy = true});
  w.add(evicted(training, 60), {.moves = 60 * G, .busy = true});
  w.add(evicted(inference, 60), {.moves = 60 * G});
  w.steps(100);
  REQUIRE(has_lease(w, 0));
  blocked(w, 2);
  w.ask();
  REQUIRE(has_lease(w, 2));
  w.state.clients[2].wants = false;
  CHECK(w.until([&] { return !has_lease(w, 2); }, 100));
  CHECK(has_lease(w, 0));
}

TEST_CASE("a trainer that was idle when it was evicted is not brought back before it submits") {
  World w = trainer_and_service(60, 30);
  w.actors[0].busy = false;
  w.now += 60 * second;
  blocked(w, 1);
  w.ask();
  w.steps(100);
  w.now += 100 * second;
  w.steps(100);
  CHECK(gate(w, 0) == GateState::closed);
  CHECK(w.state.clients[0].resident < 60 * G);
  w.actors[0].busy = true;
  CHECK(w.until([&] { return w.actors[0].ran > 100000 || w.state.clients[0].whole_since != 0; }, 300));
}

TEST_CASE("when the holder dies the lease goes on in the next answer") {
  World w = trainer_and_service(60, 30);
  blocked(w, 1);
  w.ask();
  w.steps(30);
  REQUIRE(has_lease(w, 1));
  w.remove(1);
  const Said said = asked(w);
  CHECK(said.front() == "lease 1 (only_tenant)");
  CHECK(gate(w, 0) == GateState::open);
  w.ask();
  CHECK(w.state.clients[0].quota >= 60 * G);
}

}  // namespace
}  // namespace lull::policy

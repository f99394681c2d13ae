// When a lease will end, told in advance, and when it then ends.
#include "broker/policy_outlook.h"

#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

// Until this client has lost the lease; each step is 1 ms.
Time ends(World& w, std::size_t index) {
  REQUIRE(w.until([&] { return !has_lease(w, index); }, 2'000'000));
  return w.now;
}

bool close_to(Time a, Time b) { return std::max(a, b) - std::min(a, b) <= 300 * ms; }

TEST_CASE("nobody's lease has no end, and neither has that of who is alone") {
  World w = card();
  CHECK(!lease_end(w.state, w.now));
  w.add(running(training, 60), {.busy = true});
  w.steps(3);
  CHECK(has_lease(w, 0));
  CHECK(!lease_end(w.state, w.now));
}

TEST_CASE("a trainer keeps it for as long as no service asks") {
  World w = trainer_and_service(60, 40);
  REQUIRE(has_lease(w, 0));
  CHECK(!lease_end(w.state, w.now));
}

TEST_CASE("a service that has been answered keeps it for the linger, to the moment that was told") {
  World w = trainer_and_service(60, 40);
  w.arrive(1, true);
  w.actors[1].busy = true;
  w.steps(500);
  REQUIRE(has_lease(w, 1));
  w.answer(1);
  w.actors[1].busy = false;
  w.steps(500);
  const auto told = lease_end(w.state, w.now);
  REQUIRE(told);
  CHECK(*told > w.now);
  CHECK(close_to(*told, ends(w, 1)));
}

TEST_CASE("two trainers: the turn's end is told while both want to run") {
  World w = card();
  w.state.rules.quantum = 30 * second;
  w.add(running(training, 60), {.busy = true});
  w.steps(3);
  w.add(evicted(training, 60), {.busy = true});
  blocked(w, 1);
  w.steps(20);
  REQUIRE(has_lease(w, 0));
  const auto told = lease_end(w.state, w.now);
  REQUIRE(told);
  CHECK(*told > w.now + 20 * second);
  CHECK(close_to(*told, ends(w, 0)));
}

}  // namespace
}  // namespace lull::policy

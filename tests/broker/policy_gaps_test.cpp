// How long the card stays with a service after a request, by the gaps between its requests.
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

Gaps after(std::initializer_list<Time> gaps) {
  Gaps g;
  for (const Time gap : gaps) note_gap(g, gap);
  return g;
}

Gaps often(Time gap, int times = 40) {
  Gaps g;
  while (times-- > 0) note_gap(g, gap);
  return g;
}

constexpr Time least = 1 * second, most = 30 * second, round_trip = 4 * second;

Time best_linger(const Gaps& gaps, Time trip, Time at_least, Time at_most) {
  return policy::best_linger(gaps, trip, {at_least, at_most, at_least});
}

TEST_CASE("with few gaps known it is the round trip, within its bounds") {
  CHECK_EQ(best_linger({}, round_trip, least, most), round_trip);
  CHECK_EQ(best_linger(after({100 * second, 200 * second}), round_trip, least, most), round_trip);
  CHECK_EQ(best_linger({}, 100 * ms, least, most), least);
  CHECK_EQ(best_linger({}, 300 * second, least, most), most);
  CHECK_EQ(best_linger(often(600 * second), 0, least, most), least);  // nothing has been measured yet
}

TEST_CASE("requests far apart: the card goes back at once; close together: it waits for the next") {
  CHECK_EQ(best_linger(often(600 * second), round_trip, least, most), least);
  CHECK_EQ(best_linger(often(3 * second), round_trip, least, most), 4 * second);
  CHECK_EQ(best_linger(often(500 * ms), round_trip, least, most), least);
}

TEST_CASE("bursts: it outlasts the gaps within one, and not those between them") {
  Gaps g;
  for (int burst = 0; burst < 5; ++burst) {
    for (int n = 0; n < 20; ++n) note_gap(g, 2 * second);
    note_gap(g, 7200 * second);
  }
  CHECK_EQ(best_linger(g, round_trip, least, most), 2 * second);
}

TEST_CASE("what lasted longer than a switch there and back costs is not waited for") {
  CHECK_EQ(best_linger(often(20 * second), round_trip, least, most), least);
  CHECK_EQ(best_linger(often(20 * second), 60 * second, least, 60 * second), 32 * second);
}

TEST_CASE("who comes while the other is still on its way back waits for what has gone already, and that costs less") {
  const Lingers bounds{least, most, 250 * ms};
  Gaps g;
  for (int n = 0; n < 16; ++n) note_gap(g, n % 4 ? 600 * second : 1500 * ms);
  CHECK_EQ(policy::best_linger(g, 20 * second, bounds), 250 * ms);  // at most 1.25 s of it has gone
  CHECK_EQ(policy::best_linger(often(1500 * ms), 20 * second, bounds), 2 * second);
}

TEST_CASE("shorter than the least only once gaps are known") {
  const Lingers bounds{least, most, 250 * ms};
  CHECK_EQ(policy::best_linger({}, 100 * ms, bounds), least);
  CHECK_EQ(policy::best_linger(often(600 * second), round_trip, bounds), 250 * ms);
  CHECK_EQ(policy::best_linger(often(500 * ms), round_trip, bounds), least);
}

TEST_CASE("newer gaps count more than older ones") {
  Gaps g = often(2 * second, 100);
  for (int n = 0; n < 60; ++n) note_gap(g, 600 * second);
  CHECK_EQ(best_linger(g, round_trip, least, most), least);
}

TEST_CASE("the answer keeps to its bounds, whatever the gaps were") {
  for (const Time gap : {Time{0}, 1 * ms, 3 * second, 70 * second, never / 2})
    for (const Time trip : {Time{0}, 1 * ms, 10 * second, 1000 * second, never / 4}) {
      const Time linger = best_linger(often(gap), trip, least, most);
      CHECK_GE(linger, least);
      CHECK_LE(linger, most);
    }
  CHECK_EQ(best_linger(often(3 * second), round_trip, 10 * second, 5 * second), 10 * second);  // crossed: the least
}

}  // namespace
}  // namespace lull::policy

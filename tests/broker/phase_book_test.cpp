#include "broker/phase_book.h"

#include <doctest/doctest.h>

#include <numeric>

#include "broker/switches.h"

using namespace lull;
using policy::ms;
using policy::Time;

namespace {

Switch a_preemption() {
  Switch s;
  s.from.push_back({1, 10, 0, Class::training, "trainer"});
  s.to = {2, 20, 0, Class::inference, "service"};
  s.seen = 100 * ms;
  s.closed = 101 * ms;
  s.drained = 104 * ms;
  s.evicted = 200 * ms;
  s.restored = 230 * ms;
  s.opened = 230 * ms;
  s.first_kernel = 231 * ms;
  return s;
}

Time sum_of(const Switch& s) {
  Time sum = 0;
  for (const auto& part : parts_of(s)) sum += part.value_or(0);
  return sum;
}

}  // namespace

TEST_CASE("a duration is counted in the first step that is not shorter than it") {
  Histogram h;
  h.add(0);
  h.add(Histogram::bounds[0]);
  h.add(Histogram::bounds[0] + 1);
  h.add(Histogram::bounds.back() + 1);
  CHECK(h.counts.front() == 2);
  CHECK(h.counts[1] == 1);
  CHECK(h.counts.back() == 1);
  CHECK(h.sum == 2 * Histogram::bounds[0] + 1 + Histogram::bounds.back() + 1);
  CHECK(std::is_sorted(Histogram::bounds.begin(), Histogram::bounds.end()));
}

TEST_CASE("the parts of a switch are what each phase added, and sum up to the whole") {
  const auto s = a_preemption();
  const auto parts = parts_of(s);
  CHECK(parts[0] == 1 * ms);
  CHECK(parts[1] == 3 * ms);
  CHECK(parts[2] == 96 * ms);
  CHECK(parts[3] == 30 * ms);  // what was restored while the rest still left took no time of its own
  CHECK(parts[4] == 0);
  CHECK(parts[5] == 1 * ms);
  CHECK(sum_of(s) == s.first_kernel - s.seen);
}

TEST_CASE("a phase that there was no need for has no part; one noticed late does not stretch the whole") {
  auto s = a_preemption();
  s.evicted = 0;
  s.restored = 240 * ms;  // read after the first kernel
  CHECK_FALSE(parts_of(s)[2]);
  CHECK(parts_of(s)[3] == 127 * ms);
  CHECK(sum_of(s) == s.first_kernel - s.seen);
  s.closed = 90 * ms;  // by the packet of an earlier request
  CHECK(parts_of(s)[0] == 0);
  CHECK(sum_of(s) == s.first_kernel - s.seen);
  s.first_kernel = 0;
  for (const auto& part : parts_of(s)) CHECK_FALSE(part);
}

TEST_CASE("switches are counted by who had to go for them") {
  PhaseBook book;
  auto s = a_preemption();
  book.add(s);
  s.from.front().klass = Class::inference;
  book.add(s);
  s.from.clear();
  book.add(s);
  s.first_kernel = 0;
  book.add(s);  // ended before its first kernel
  for (const auto kind : all_switch_kinds) {
    const auto& whole = book.page(kind).whole;
    CHECK(std::accumulate(whole.counts.begin(), whole.counts.end(), std::uint64_t{0}) == 1);
    CHECK(whole.sum == 131 * ms);
  }
}

TEST_CASE("how long a class has had the card is counted while it has it and afterwards") {
  const std::vector<policy::Client> nobody;
  const std::vector<Seat> no_seats;
  Switches switches;
  switches.begin({2, 20, 0, Class::inference, "service"}, Reason::request, 5 * ms, 10 * ms);
  CHECK(switches.held(Class::inference, 90 * ms) == 0);  // its gate is not open yet
  switches.settle({nobody, no_seats});
  switches.close(100 * ms);
  CHECK(switches.held(Class::inference, 200 * ms) == 0);
}

// Host memory that the broker wants back goes back, whole arenas at a time, and never with data that is only there.
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

constexpr std::uint64_t arena_bytes = 8 * chunk;

std::vector<std::uint64_t> returned() {
  std::vector<std::uint64_t> numbers;
  for (const Returned& one : broker().returned()) {
    CHECK_EQ(one.bytes, arena_bytes);
    numbers.push_back(one.number);
  }
  return numbers;
}

// The mover has looked at the broker's words, all of them, several times.
void let_the_mover_look() {
  for (int i = 0; i < 3; ++i) {
    broker().say_again();
    const auto seen = [] { return broker().up().seen_gate.load() >> 2 == broker().generation(); };
    REQUIRE(comes_true(seen));
    broker().wake();
  }
}

void give(std::uint64_t number) {
  const Since before;
  broker().give_backing(arena_bytes, number);
  REQUIRE(comes_true([&] { return before.count("cuMemHostRegister_v2") == 1; }));
}

std::uint64_t copied_by_eviction() {
  const Since before;
  REQUIRE(evict());
  return before.bytes(sim::Kind::copy_d2h);
}

using Numbers = std::vector<std::uint64_t>;

}  // namespace

ALONE("arenas that are not needed go back by their numbers, and never below the limit") {
  prepare(chunk);  // never asked back: it has no number
  for (const std::uint64_t number : {11, 12, 13}) give(number);
  Memory memory(4 * chunk, 1);
  CHECK_EQ(copied_by_eviction(), 4 * chunk);
  REQUIRE(restore());
  let_the_mover_look();
  CHECK(returned().empty());  // without a limit nothing goes
  const Since limited;
  broker().limit_backing(arena_bytes + chunk + 1);  // two arenas and the nameless one are enough, one is not
  REQUIRE(comes_true([] { return returned().size() == 1; }));
  let_the_mover_look();
  CHECK_EQ(returned().size(), 1);
  CHECK_EQ(limited.count("cuMemHostUnregister"), 1);
  broker().limit_backing(arena_bytes + chunk);
  REQUIRE(comes_true([] { return returned().size() == 2; }));
  let_the_mover_look();
  CHECK_EQ(returned(), Numbers{12, 13});  // the first holds copies
  CHECK_EQ(copied_by_eviction(), 0);
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("copies of what is present are dropped with their arena, and made again at the next eviction") {
  prepare(chunk);
  for (const std::uint64_t number : {21, 22}) give(number);
  Memory memory(12 * chunk, 2);
  CHECK_EQ(copied_by_eviction(), 12 * chunk);
  REQUIRE(restore());
  CHECK_EQ(copied_by_eviction(), 0);
  REQUIRE(restore());
  broker().limit_backing(0);
  REQUIRE(comes_true([] { return returned().size() == 2; }));
  CHECK(memory.intact());
  broker().limit_backing(std::nullopt);
  for (const std::uint64_t number : {23, 24}) give(number);
  // One chunk's place may have been in the arena that has no number.
  const std::uint64_t copied = copied_by_eviction();
  CHECK(copied >= 11 * chunk);
  CHECK(copied <= 12 * chunk);
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("an arena that holds what is evicted stays, whatever the limit, until that has come back") {
  prepare(chunk);
  give(31);
  Memory memory(8 * chunk, 3);
  CHECK_EQ(copied_by_eviction(), 8 * chunk);
  broker().limit_backing(0);
  let_the_mover_look();
  CHECK(returned().empty());
  REQUIRE(restore());
  CHECK(memory.intact());
  REQUIRE(comes_true([] { return returned().size() == 1; }));
  CHECK_EQ(returned(), Numbers{31});
  // Without a place to go to the memory stays and the reason is said; with one all is well.
  broker().gate(GateState::closed);
  REQUIRE(broker().reaches(Phase::drained));
  broker().quota(0);
  REQUIRE(comes_true([] { return broker().phase().reason == Overdue::no_backing; }));
  broker().limit_backing(std::nullopt);
  broker().give_backing(arena_bytes, 32);
  REQUIRE(comes_true_with_nudges([] { return broker().up().resident.load() == 0; }));
  REQUIRE(restore());
  CHECK(memory.intact());
}

}  // namespace lull::residency_test

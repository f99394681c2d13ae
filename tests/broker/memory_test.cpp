// Host memory: budget, admission, and who gets the next arena.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/stat.h>

#include <array>

#include "broker/arenas.h"
#include "broker/host_memory.h"
#include "protocol/memory.h"

using namespace lull;
using policy::Bytes;

namespace {
constexpr Bytes gib = 1ull << 30, mib = 1ull << 20;
constexpr Bytes chunk = 128 * mib;
}  // namespace

TEST_CASE("the host budget leaves the machine what it needs") {
  Config config;
  CHECK(host_budget(config, {64 * gib, 60 * gib}, 0) == 64 * gib - 64 * gib / 5);
  CHECK(host_budget(config, {32 * gib, 30 * gib}, 0) == 24 * gib);
  CHECK(host_budget(config, {8 * gib, 7 * gib}, 0) == 2 * gib);  // a small machine: a quarter
  CHECK(host_budget(config, {64 * gib, 10 * gib}, 5 * gib) == 5 * gib + 10 * gib - 64 * gib / 10);
  CHECK(host_budget(config, {64 * gib, 1 * gib}, 5 * gib) == 5 * gib);  // no growth, nothing taken back
  config.host_memory = 4 * gib;
  config.host_memory_keep_free = 0;
  CHECK(host_budget(config, {8 * gib, 7 * gib}, 0) == 4 * gib);
}

TEST_CASE("meminfo is parsed and nonsense is not") {
  const auto host = parse_meminfo("MemTotal:       65536 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\n");
  REQUIRE(host);
  CHECK(host->total == 64 * mib);
  CHECK(host->available == mib);
  CHECK_FALSE(parse_meminfo("MemTotal: x kB\nMemAvailable: 3 kB"));
  CHECK_FALSE(parse_meminfo(""));
}

TEST_CASE("a client alone may allocate what it likes") { CHECK_FALSE(admit_limit({}, 0, 0, 0)); }

TEST_CASE("whoever is not on the card has to fit into host memory") {
  // 20 GiB are there already, the budget is 12 GiB: 12 more would leave 20 for the 12 to be evicted to, and no more.
  const std::array<Bytes, 1> trainer{20 * gib};
  CHECK(admit_limit(trainer, 0, 24 * gib, 0) == 24 * gib);       // 20 go out for it, or up to 24 of it for the 20
  CHECK(admit_limit(trainer, 0, 12 * gib, 0) == Bytes{0});       // the 20 GiB have no place to go
  CHECK(admit_limit(trainer, 0, 12 * gib, 3 * gib) == 3 * gib);  // but what fits beside them needs none
  CHECK(admit_limit(trainer, 5 * gib, 12 * gib, 0) == 5 * gib);  // what is there is never refused
  const std::array<Bytes, 2> two{20 * gib, 10 * gib};
  CHECK(admit_limit(two, 0, 40 * gib, 0) == 20 * gib);
}

TEST_CASE("what cannot be done without comes first, then whole needs, in order of connection") {
  const Backed first{1, 0, 10 * gib, 3 * gib, 2 * gib, chunk, false}, second{2, 0, 10 * gib, 0, 2 * gib, chunk, false};
  const std::array both{first, second};
  CHECK(next_growth(both, {40 * gib, 40 * gib})->id == 2);
  const Backed has{2, 0, 10 * gib, 3 * gib, 2 * gib, chunk, false};
  const std::array satisfied{first, has};
  CHECK(next_growth(satisfied, {40 * gib, 40 * gib})->id == 1);
  CHECK_FALSE(next_growth(satisfied, {6 * gib, 40 * gib}));
  CHECK_FALSE(next_growth(satisfied, {40 * gib, 6 * gib}));
}

TEST_CASE("pieces are whole chunks of at most a gigabyte") {
  const std::array large{Backed{1, 0, 10 * gib, 0, 0, chunk, false}, Backed{2, 0, 0, 0, 0, chunk, false}};
  CHECK(next_growth(large, {40 * gib, 40 * gib})->bytes == gib);
  const std::array small{Backed{1, 0, 5 * mib, 0, 0, 16 * mib, false}, Backed{2, 0, 0, 0, 0, chunk, false}};
  CHECK(next_growth(small, {40 * gib, 40 * gib})->bytes == 64 * mib);
  const std::array tiny{Backed{1, 0, 5 * mib, 0, 0, 2 * mib, false}, Backed{2, 0, 0, 0, 0, chunk, false}};
  CHECK(next_growth(tiny, {40 * gib, 40 * gib})->bytes == 32 * mib);
}

TEST_CASE("a client alone leaves half the budget to those to come") {
  const std::array alone{Backed{1, 0, 30 * gib, 19 * gib, 0, chunk, false}};
  CHECK(next_growth(alone, {40 * gib, 40 * gib})->bytes == gib);
  const std::array at_half{Backed{1, 0, 30 * gib, 20 * gib, 0, chunk, false}};
  CHECK_FALSE(next_growth(at_half, {40 * gib, 40 * gib}));
}

TEST_CASE("a client that could not evict for want of backing gets more than its needs") {
  const std::array full{Backed{1, 0, gib, gib + chunk, 0, chunk, false}, Backed{2, 0, 0, 0, 0, chunk, false}};
  CHECK_FALSE(next_growth(full, {40 * gib, 40 * gib}));
  const std::array starved{Backed{1, 0, gib, gib + chunk, 0, chunk, true}, Backed{2, 0, 0, 0, 0, chunk, false}};
  CHECK(next_growth(starved, {40 * gib, 40 * gib})->id == 1);
}

TEST_CASE("an arena arrives sealed and with every page present") {
  ArenaMaker maker;
  maker.make({7, 8 * mib});
  CHECK(maker.busy());
  pollfd wait{maker.fd(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 20'000) == 1);
  auto made = maker.take();
  REQUIRE(made);
  CHECK(made->id == 7);
  REQUIRE(made->fd);
  CHECK(check_shared_memory(made->fd.get(), 8 * mib));
  struct stat status;
  REQUIRE(::fstat(made->fd.get(), &status) == 0);
  CHECK(status.st_blocks * 512 == static_cast<long>(8 * mib));
  CHECK_FALSE(maker.busy());
  CHECK_FALSE(maker.take());
}

TEST_CASE("an arena that cannot be made is reported and not fatal") {
  ArenaMaker maker;
  maker.make({7, 1ull << 62});
  pollfd wait{maker.fd(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 20'000) == 1);
  auto made = maker.take();
  REQUIRE(made);
  CHECK_FALSE(made->fd);
}

TEST_CASE("the toucher takes only sealed memory of the size it was told") {
  auto memory = make_shared_memory("test", 2 * mib, Writers::everyone);
  REQUIRE(memory);
  CHECK(touch_arena(-1, 2 * mib) != 0);
}

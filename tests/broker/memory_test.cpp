// Host memory: budget, admission, and making it.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/stat.h>

#include <array>

#include "broker/arenas.h"
#include "broker/host_memory.h"
#include "broker/units.h"
#include "protocol/memory.h"

using namespace lull;
using policy::Bytes;

namespace {
template <class N = UserNeeds>
N of(const std::vector<Bytes>& list) {
  N needs;
  for (const Bytes need : list) {
    if constexpr (std::is_same_v<N, Needs>)
      needs.add(need);
    else
      needs.add(7, need);
  }
  return needs;
}
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

TEST_CASE("needs without one of them are those of the others") {
  const std::vector<std::vector<Bytes>> lists = {{7},       {7, 3},    {3, 7},    {3, 3},
                                                 {5, 3, 7}, {3, 5, 3}, {0, 0, 4}, {9, 8, 7, 1}};
  for (const auto& list : lists)
    for (std::size_t left = 0; left < list.size(); ++left) {
      std::vector<Bytes> others = list;
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(left));
      const Needs rest = of<Needs>(list).without(list[left]), expected = of<Needs>(others);
      CHECK(rest.none() == expected.none());
      CHECK(rest.sum() == expected.sum());
      CHECK(rest.smallest() == expected.smallest());
    }
}

TEST_CASE("a client alone may allocate what it likes") {
  CHECK_FALSE(admit_limit(UserNeeds().beside(7, {}, gib), 0, {0, 0, 0}));
  CHECK_FALSE(admit_limit(of({gib}).beside(7, gib, gib), gib, {0, 0, 0}));
}

TEST_CASE("whoever is not on the card has to fit into host memory") {
  // 20 GiB are there already, the budget is 12 GiB: 12 more would leave 20 for the 12 to be evicted to, and no more.
  const auto limit = [](const UserNeeds& others, Bytes own, Bytes budget, Bytes fits) {
    return admit_limit(others.beside(7, {}, budget), own, {budget, budget, fits});
  };
  const auto trainer = of({20 * gib});
  CHECK(limit(trainer, 0, 24 * gib, 0) == 24 * gib);       // 20 go out for it, or up to 24 of it for the 20
  CHECK(limit(trainer, 0, 12 * gib, 0) == Bytes{0});       // the 20 GiB have no place to go
  CHECK(limit(trainer, 0, 12 * gib, 3 * gib) == 3 * gib);  // but what fits beside them needs none
  CHECK(limit(trainer, 5 * gib, 12 * gib, 0) == 5 * gib);  // what is there is never refused
  CHECK(limit(of({20 * gib, 10 * gib}), 0, 40 * gib, 0) == 20 * gib);
}

TEST_CASE("what a user claims takes no more than its share from others, and gives it no more itself") {
  Config config;
  CHECK(user_share(config, {32 * gib, 30 * gib}, false) == 21 * gib);
  CHECK(user_share(config, {32 * gib, 30 * gib}, true) == 24 * gib);
  config.host_memory = 40 * gib;
  CHECK(user_share(config, {64 * gib, 60 * gib}, false) == 35 * gib);
  config.host_memory_per_uid = 10 * gib;
  CHECK(user_share(config, {64 * gib, 60 * gib}, true) == 10 * gib);

  constexpr unsigned hostile = 7, other = 8;
  constexpr Bytes budget = 40 * gib, share = 35 * gib;
  UserNeeds all;
  for (int i = 0; i < 20; ++i) all.add(hostile, 24 * gib);  // a liar's pages
  CHECK(all.beside(other, {}, share).of_all_else == share);
  CHECK(admit_limit(all.beside(other, {}, share), 0, {budget, share, 0}) == 5 * gib + 24 * gib);
  CHECK(admit_limit(all.beside(hostile, 24 * gib, share), gib, {budget, share, 0}) == gib);  // nothing more
  all.add(other, 2 * gib);
  CHECK(admit_limit(all.beside(other, {}, share), 0, {budget, share, 0}) == 5 * gib);
  UserNeeds one;  // alone with another user: all of its own may have to leave for that one
  one.add(hostile, 20 * gib);
  one.add(other, gib);
  CHECK(admit_limit(one.beside(hostile, {}, share), 0, {budget, share, 0}) == 15 * gib);
}

TEST_CASE("an arena arrives sealed and with every page present") {
  ArenaMaker maker;
  maker.make({7, 8 * mib, {}, false});
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
  maker.make({7, 1ull << 62, {}, false});
  pollfd wait{maker.fd(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 20'000) == 1);
  auto made = maker.take();
  REQUIRE(made);
  CHECK_FALSE(made->fd);
}

TEST_CASE("the toucher takes only sealed memory of the size it was told") {
  auto memory = make_shared_memory("test", 2 * mib, Writers::everyone);
  REQUIRE(memory);
  CHECK(touch_arena(-1, 2 * mib, {}) != 0);
}

TEST_CASE("an arena of several steps, near a node that may not exist, has every page") {
  ArenaMaker maker;
  maker.make({7, 130 * mib, 0, true});
  pollfd wait{maker.fd(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 20'000) == 1);
  const auto near = maker.take();
  REQUIRE((near && near->fd));
  struct stat status;
  REQUIRE(::fstat(near->fd.get(), &status) == 0);
  CHECK(status.st_blocks * 512 == static_cast<long>(130 * mib));
  maker.make({7, 2 * mib, 1000, false});
  REQUIRE(::poll(&wait, 1, 20'000) == 1);
  CHECK(maker.take()->fd);
}

TEST_CASE("what is made ahead of need leaves the machine more than what has to be") {
  Config config;
  config.host_memory_keep_free = 4 * gib;
  CHECK(keep_free(config, {64 * gib, 60 * gib}) == 4 * gib);
  CHECK(host_budget(config, {64 * gib, 6 * gib}, 10 * gib) == 12 * gib);
  CHECK(budget_ahead(config, {64 * gib, 6 * gib}, 10 * gib) == 11 * gib);
  CHECK(budget_ahead(config, {64 * gib, 4 * gib}, 10 * gib) == 10 * gib);
}

#include "shim/extents.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace lull;

namespace {
// The library's own are the process's and never end; a case's do.
struct Passing : Extents {
  ~Passing() { release(); }
};
}  // namespace

TEST_CASE("ranges are handed out aligned and without overlap") {
  Passing extents;
  REQUIRE(extents.add(0, 1 << 20));
  const auto a = extents.take(1000, 512), b = extents.take(1000, 512);
  REQUIRE(a);
  REQUIRE(b);
  CHECK(*a % 512 == 0);
  CHECK(*b % 512 == 0);
  CHECK(*b >= *a + 1000);
  CHECK(extents.free_bytes() == (1 << 20) - 2000);
}

TEST_CASE("what comes back joins its neighbours") {
  Passing extents;
  REQUIRE(extents.add(0, 3 * 4096));
  const auto a = extents.take(4096, 1), b = extents.take(4096, 1), c = extents.take(4096, 1);
  CHECK_FALSE(extents.take(1, 1));
  extents.give(*a, 4096);
  extents.give(*c, 4096);
  CHECK_FALSE(extents.take(8192, 1));
  extents.give(*b, 4096);
  CHECK(extents.take(3 * 4096, 1) == 0);
}

TEST_CASE("random taking and giving never overlaps and ends where it began") {
  std::mt19937 random(7);
  constexpr std::uint64_t size = 1 << 16;
  Passing extents;
  REQUIRE(extents.add(0, size));
  std::vector<std::pair<std::uint64_t, std::uint64_t>> held;
  std::vector<bool> used(size);
  for (int round = 0; round < 5000; ++round) {
    if (held.empty() || random() % 2) {
      const std::uint64_t bytes = 1 + random() % 3000, alignment = 1u << random() % 10;
      if (const auto at = extents.take(bytes, alignment)) {
        CHECK(*at % alignment == 0);
        for (std::uint64_t i = *at; i < *at + bytes; ++i) {
          REQUIRE_FALSE(used[i]);
          used[i] = true;
        }
        held.emplace_back(*at, bytes);
      }
    } else {
      std::swap(held[random() % held.size()], held.back());
      const auto [at, bytes] = held.back();
      held.pop_back();
      for (std::uint64_t i = at; i < at + bytes; ++i) used[i] = false;
      extents.give(at, bytes);
    }
  }
  for (const auto& [at, bytes] : held) extents.give(at, bytes);
  CHECK(extents.free_bytes() == size);
  CHECK(extents.take(size, 1) == 0);
}

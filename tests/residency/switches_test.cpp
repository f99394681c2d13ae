// Many switches leave nothing behind.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

struct Held {
  std::ptrdiff_t descriptors;
  std::size_t resident_kib = 0, mapped_kib = 0, free_on_card;
};

Held held() {
  Held now{std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}), 0, 0, free_on_card()};
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    (void)std::sscanf(line.c_str(), "VmRSS: %zu", &now.resident_kib);
    (void)std::sscanf(line.c_str(), "VmSize: %zu", &now.mapped_kib);
  }
  return now;
}

int wanted_switches() {
  const char* asked = std::getenv("LULL_TEST_SWITCHES");
  return asked ? std::atoi(asked) : 1000;
}

}  // namespace

// Without a journal, which grows.
ALONE("after a thousand switches the process holds what it held after a hundred", "LULL_SIM_JOURNAL=") {
  broker().give_backing(16 * mib);
  Memory changing(chunk, 1), steady(chunk, 2, created), zeros(chunk, 0);
  zeros.zero();
  REQUIRE(evict());
  REQUIRE(restore());
  Held before{};
  const int all = wanted_switches();
  for (int i = 0; i < all; ++i) {
    if (i == all / 10) before = held();
    changing.change_byte(static_cast<std::size_t>(i) % chunk);
    REQUIRE(evict(i % 3 == 0 ? chunk : 0));
    REQUIRE(restore());
  }
  const Held after = held();
  CHECK_EQ(after.descriptors, before.descriptors);
  CHECK_EQ(after.free_on_card, before.free_on_card);
  CHECK(after.resident_kib < before.resident_kib + 1024);
  CHECK(after.mapped_kib < before.mapped_kib + 1024);
  for (const Memory* memory : {&changing, &steady, &zeros}) CHECK(memory->intact());
}

ALONE("switches make no streams, events or pinned memory") {
  prepare(16 * mib);
  Memory changing(chunk, 1), zeros(chunk, 0);
  zeros.zero();
  REQUIRE(evict());
  REQUIRE(restore());
  const Since settled;
  for (int i = 0; i < 20; ++i) {
    changing.change_byte(static_cast<std::size_t>(i));
    REQUIRE(evict());
    REQUIRE(restore());
  }
  CHECK_EQ(settled.count("cuMemcpyDtoHAsync_v2"), 20);
  for (const char* makes : {"cuStreamCreate", "cuStreamCreateWithPriority", "cuEventCreate", "cuMemHostAlloc",
                            "cuMemHostRegister_v2", "cuModuleLoadData", "cuMemAddressReserve"}) {
    CAPTURE(makes);
    CHECK_EQ(settled.count(makes), 0);
  }
  CHECK_EQ(settled.count("cuMemCreate"), settled.count("cuMemRelease"));
}

}  // namespace lull::residency_test

#include "tests/driver/card/profile.h"

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>

#include "tests/driver/card/units.h"
#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

// profiles/sim.card with one thing changed.
std::string changed(const std::string& from, const std::string& to) {
  std::string text(built_in_text("sim"));
  const auto at = text.find(from);
  REQUIRE_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string problem_of(const std::string& text) {
  Profile profile;
  std::string problem;
  CHECK_FALSE(parse_profile(text, "my.card", profile, problem));
  return problem;
}

}  // namespace

TEST_CASE("every built-in card is a complete profile that says it is simulated") {
  const auto names = built_in_profiles();
  REQUIRE_EQ(names.size(), 4);
  for (const std::string& name : names) {
    Profile card;
    std::string problem;
    CHECK_MESSAGE(load_profile(name, card, problem), problem);
    CHECK_NE(card.name.find("simulated"), std::string::npos);
    CHECK_LE(card.to_device_duplex, card.to_device);
    CHECK_LE(card.to_host_duplex, card.to_host);
  }
}

TEST_CASE("a profile that is not right is refused with the line, the key and what is expected") {
  CHECK_EQ(problem_of("nonsense\n"), "my.card:1: 'nonsense': expected key = value");
  CHECK_EQ(problem_of("# a comment\n\nmemroy = 1GiB"),
           "my.card:3: 'memroy' is no key of a card; see profiles/sim.card");
  CHECK_EQ(problem_of("memory = much"), "my.card:1: memory = much: expected a size such as 256MiB");
  CHECK_EQ(problem_of("memory = 1024"), "my.card:1: memory = 1024: expected a size such as 256MiB");
  CHECK_EQ(problem_of("to-host = 25GB"), "my.card:1: to-host = 25GB: expected a rate such as 25GB/s");
  CHECK_EQ(problem_of("launch = -1us"), "my.card:1: launch = -1us: expected a time such as 193us");
  CHECK_EQ(problem_of("pageable = 0%"), "my.card:1: pageable = 0% is out of range");
  CHECK_EQ(problem_of("staging = 1KiB\nstaging = 1KiB"), "my.card:2: staging is given twice");
  CHECK_EQ(problem_of("name = \"GeForce\""), "my.card:1: name: must say that the card is simulated");
  CHECK_EQ(problem_of("attribute.NUMBER_OF_WHEELS = 4"),
           "my.card:1: attribute.NUMBER_OF_WHEELS: no CU_DEVICE_ATTRIBUTE_ has this name");
  CHECK_EQ(problem_of("time-scale = 0.5"), "my.card:1: time-scale: expected a number from 1 to 1e6");
  CHECK_EQ(problem_of(changed("to-host-duplex", "# to-host-duplex")),
           "my.card: to-host-duplex is missing: expected a rate such as 25GB/s");
}

TEST_CASE("a card of a program's own is read from a file") {
  const std::string path = journal_path() + ".card";
  std::ofstream(path) << changed("to-host          = 1GB/s", "to-host = 2.5GB/s  # faster");
  Profile card;
  std::string problem;
  CHECK_MESSAGE(load_profile(path, card, problem), problem);
  CHECK_EQ(card.to_host, 2'500'000'000);
  CHECK_EQ(std::remove(path.c_str()), 0);
  CHECK_FALSE(load_profile(path, card, problem));
  CHECK_NE(problem.find("cannot read it"), std::string::npos);
  CHECK_FALSE(load_profile("rtx-9090", card, problem));
  CHECK_EQ(problem, "no card 'rtx-9090': expected a path with a slash, or one of sim rtx-3090 rtx-4090 h100");
}

TEST_CASE("sizes, rates and times are read with their units and never negative or without end") {
  CHECK_EQ(parse_bytes("256MiB"), std::uint64_t{256} << 20);
  CHECK_EQ(parse_bytes("1.5kB"), 1500);
  CHECK_EQ(parse_bytes("1e9"), 1'000'000'000);
  CHECK_EQ(parse_rate("25GB/s"), 25'000'000'000);
  CHECK_EQ(parse_duration_ns("1.45us"), 1450);
  CHECK_EQ(parse_duration_ns("0.5s"), 500'000'000);
  for (const char* text : {"", "B", "-1", "inf", "nan", "0x10", "1e99", "1QiB", "1 MiB", "1MiBs"}) {
    CHECK_MESSAGE(!parse_bytes(text), text);
  }
  CHECK_FALSE(parse_duration_ns("3"));
  CHECK_FALSE(parse_rate("3GB"));
}

namespace {

ChildRole attributes("attributes", [] {
  char name[80] = "";
  int major = 0, minor = 0, processors = 0;
  if (cuInit(0) != CUDA_SUCCESS) return 1;
  OK(cuDeviceGetName(name, sizeof name, 0));
  OK(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
  OK(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
  OK(cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
  std::printf("%s, %d.%d, %d processors\n", name, major, minor, processors);
  return 0;
});

}  // namespace

TEST_CASE("the name and the attributes of a card are its profile's") {
  Child child("attributes", {"LULL_SIM_CARD=rtx-3090", "LULL_SIM_MEMORY=128MiB"});
  CHECK_EQ(child.line(), "Lull simulated GPU (RTX 3090 profile), 8.6, 82 processors");
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("cuInit of a card that makes no sense is an error") {
  CHECK_EQ(WEXITSTATUS(Child("attributes", {"LULL_SIM_CARD=rtx-9090"}).wait()), 1);
  CHECK_EQ(WEXITSTATUS(Child("attributes", {"LULL_SIM_SCALE=0"}).wait()), 1);
  CHECK_EQ(WEXITSTATUS(Child("attributes", {"LULL_SIM_MEMORY=much"}).wait()), 1);
}

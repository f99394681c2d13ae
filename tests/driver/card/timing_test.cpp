// What copies and calls last on cards other than the tests' own: children run on them, their journal is read here.
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "tests/driver/card/profile.h"
#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

constexpr int copies = 3;
constexpr std::size_t copy_bytes = 8 * MiB;

// Copies one way (COPY=in or out, HOST=pinned or pageable, COPIES of them), by the streams's event time and by the
// journal.
ChildRole timed_copies("timed-copies", [] {
  OK(cuInit(0));
  const TestContext context;
  CUdeviceptr d = 0;
  CUstream stream = nullptr;
  CUevent begin = nullptr, end = nullptr;
  void* host = nullptr;
  std::vector<std::byte> pageable(copy_bytes);
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuEventCreate(&begin, 0));
  OK(cuEventCreate(&end, 0));
  OK(cuMemAlloc_v2(&d, copy_bytes));
  if (std::string_view(::getenv("HOST")) == "pinned")
    OK(cuMemHostAlloc(&host, copy_bytes, 0));
  else
    host = pageable.data();
  std::printf("ready\n");
  std::fflush(stdout);
  (void)std::getchar();
  OK(cuEventRecord(begin, stream));
  for (int i = 0; i < std::atoi(::getenv("COPIES")); ++i) {
    if (std::string_view(::getenv("COPY")) == "in")
      OK(cuMemcpyHtoDAsync_v2(d, host, copy_bytes, stream));
    else
      OK(cuMemcpyDtoHAsync_v2(host, d, copy_bytes, stream));
  }
  OK(cuEventRecord(end, stream));
  OK(cuStreamSynchronize(stream));
  float milliseconds = 0;
  OK(cuEventElapsedTime_v2(&milliseconds, begin, end));
  std::printf("%.6f\n", static_cast<double>(milliseconds));
  return 0;
});

ChildRole call_costs("call-costs", [] {
  OK(cuInit(0));
  const TestContext context;
  for (int i = 0; i < 3; ++i) OK(cuMemRelease(create(16 * MiB)));
  return 0;
});

std::vector<std::string> on_card(const std::string& copy, const std::string& host, const std::string& scale,
                                 int count = copies) {
  return {"LULL_SIM_CARD=rtx-3090",  "LULL_SIM_MEMORY=128MiB", "LULL_SIM_CONTEXT=16MiB",          "LULL_SIM_LINK=",
          "LULL_SIM_SCALE=" + scale, "COPY=" + copy,           "COPIES=" + std::to_string(count), "HOST=" + host};
}

Profile rtx_3090() {
  Profile card;
  std::string problem;
  REQUIRE(load_profile("rtx-3090", card, problem));
  return card;
}

std::vector<Record> of_process(Kind kind, int pid) {
  auto records = journal(kind);
  std::erase_if(records, [pid](const Record& r) { return r.pid != static_cast<std::uint32_t>(pid); });
  return records;
}

double lasted_s(const Record& r, double scale) { return static_cast<double>(r.end_ns - r.start_ns) * 1e-9 / scale; }

double overlap_s(const Record& a, const std::vector<Record>& others, double scale) {
  double sum = 0;
  for (const Record& b : others) {
    const auto from = std::max(a.start_ns, b.start_ns), to = std::min(a.end_ns, b.end_ns);
    if (to > from) sum += static_cast<double>(to - from) * 1e-9 / scale;
  }
  return sum;
}

}  // namespace

TEST_CASE("a copy lasts what the profile says, in the card's time, by journal and by events") {
  const Profile card = rtx_3090();
  Child child("timed-copies", on_card("in", "pinned", "40"));
  REQUIRE_EQ(child.line(), "ready");
  child.release();
  const double by_events_s = std::stod(child.line()) * 1e-3;
  REQUIRE_EQ(child.wait(), 0);
  const auto records = of_process(Kind::copy_h2d, child.pid);
  REQUIRE_EQ(records.size(), copies);
  const double expected_s = static_cast<double>(card.copy_latency_ns) * 1e-9 +
                            static_cast<double>(copy_bytes) / static_cast<double>(card.to_device);
  for (const Record& r : records) CHECK_EQ(lasted_s(r, 40), doctest::Approx(expected_s).epsilon(0.001));
  CHECK_EQ(by_events_s, doctest::Approx(copies * expected_s).epsilon(0.03));
}

TEST_CASE("copies from pageable memory have the profile's share of the rate") {
  const Profile card = rtx_3090();
  Child child("timed-copies", on_card("in", "pageable", "10"));
  REQUIRE_EQ(child.line(), "ready");
  child.release();
  REQUIRE_EQ(child.wait(), 0);
  const auto records = of_process(Kind::copy_h2d, child.pid);
  REQUIRE_EQ(records.size(), copies);
  const double rate = static_cast<double>(card.to_device * card.pageable_percent) / 100;
  const double expected_s = static_cast<double>(card.copy_latency_ns) * 1e-9 + static_cast<double>(copy_bytes) / rate;
  CHECK_EQ(lasted_s(records[0], 10), doctest::Approx(expected_s).epsilon(0.001));
}

TEST_CASE("two processes that copy both ways at once share the link by its duplex rates") {
  const Profile card = rtx_3090();
  Child in("timed-copies", on_card("in", "pinned", "1000", 1)),
      out("timed-copies", on_card("out", "pinned", "1000", 1));
  REQUIRE_EQ(in.line(), "ready");
  REQUIRE_EQ(out.line(), "ready");
  in.release();
  out.release();
  REQUIRE_EQ(in.wait(), 0);
  REQUIRE_EQ(out.wait(), 0);
  const auto towards = of_process(Kind::copy_h2d, in.pid), back = of_process(Kind::copy_d2h, out.pid);
  REQUIRE_EQ(towards.size(), 1);
  REQUIRE_EQ(back.size(), 1);
  double shared_s = 0, moved = 0;
  for (const Record& r : towards) {
    const double both_s = overlap_s(r, back, 1000);
    shared_s += both_s;
    moved += both_s * static_cast<double>(card.to_device_duplex) +
             (lasted_s(r, 1000) - both_s) * static_cast<double>(card.to_device);
  }
  REQUIRE_GT(shared_s, 0.0001);  // they did run at once
  CHECK_EQ(moved, doctest::Approx(static_cast<double>(copy_bytes)).epsilon(0.05));
}

TEST_CASE("creating and releasing physical memory keeps the caller as long as the profile says") {
  const Profile card = rtx_3090();
  Child child("call-costs", on_card("in", "pinned", "50"));
  REQUIRE_EQ(child.wait(), 0);
  const auto calls = of_process(Kind::call, child.pid);
  std::uint64_t first_ns = 0, last_ns = 0;
  int created = 0;
  for (const Record& r : calls) {
    const auto name = function_name(r.function);
    if (name != "cuMemCreate" && name != "cuMemRelease") continue;
    const double mib = name == "cuMemCreate" ? 16 : 0;
    const CallCost& cost = mib > 0 ? card.create : card.release;
    const double expected_s = (static_cast<double>(cost.call_ns) + mib * static_cast<double>(cost.mib_ns)) * 1e-9;
    CHECK_GE(lasted_s(r, 50), expected_s * 0.999);
    if (first_ns == 0) first_ns = r.start_ns;
    last_ns = r.end_ns;
    created += name == "cuMemCreate";
  }
  REQUIRE_EQ(created, 3);
  const double least_s = 3 * static_cast<double>(card.create.call_ns + card.release.call_ns) * 1e-9;
  CHECK_GE(static_cast<double>(last_ns - first_ns) * 1e-9 / 50, least_s);  // the caller really was kept
}

// Submitting: what a launch and a marker cost, how many launches a stream takes, and how two processes share the card.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;

// Microseconds that one call takes in the calling thread, the queue never full.
template <class Call>
double cost_of(CUstream stream, int rounds, const Call& call) {
  constexpr int at_once = 200;
  std::vector<double> all;
  for (int i = 0; i < rounds; ++i) {
    const double begin = now();
    for (int j = 0; j < at_once; ++j) call();
    all.push_back((now() - begin) * 1e6 / at_once);
    OK(cuStreamSynchronize, stream);
  }
  return median(all);
}

}  // namespace

FACT(marker_costs, "P6", "What do markers behind launches cost, and how soon are they seen?") {
  const Card card;
  const Spinner spinner;
  const auto stream = make_stream();
  const int rounds = fact.quick ? 2 : 50;
  void* word = nullptr;
  CUdeviceptr there = 0;
  OK(cuMemHostAlloc, &word, 4096, CU_MEMHOSTALLOC_DEVICEMAP);
  OK(cuMemHostGetDevicePointer, &there, word, 0);
  CUevent event = nullptr;
  OK(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
  const auto write = CU(cuStreamWriteValue32);
  const auto record = CU(cuEventRecord);
  const auto query = CU(cuEventQuery);
  std::uint32_t value = 0;
  const double launch = cost_of(stream, rounds, [&] { spinner.submit_empty(stream); });
  const double writing =
      cost_of(stream, rounds, [&] { must(write(stream, there, ++value, 0), "cuStreamWriteValue32"); });
  const double recording = cost_of(stream, rounds, [&] { must(record(event, stream), "cuEventRecord"); });
  const double asking = cost_of(stream, rounds, [&] { (void)query(event); });
  std::vector<double> seen;
  for (int i = 0; i < rounds; ++i) {
    const double begin = now();
    must(write(stream, there, ++value, 0), "cuStreamWriteValue32");
    while (*static_cast<volatile std::uint32_t*>(word) != value)
      if (now() - begin > 5) throw std::runtime_error("a value that was written is not seen within 5 s");
    seen.push_back((now() - begin) * 1e6);
  }
  fact.figures = {{"launch_us", launch},
                  {"write_value_us", writing},
                  {"event_record_us", recording},
                  {"event_query_us", asking},
                  {"value_seen_after_us", median(seen)}};
  fact.sentence = fmt::format(
      "a launch takes {:.2f} us of its thread, a written value {:.2f}, an event {:.2f}, a query {:.2f}; "
      "an idle stream's value is seen after {:.1f} us",
      launch, writing, recording, asking, median(seen));
}

FACT(launch_queue, "P8", "How many launches does a stream take before the call waits?") {
  const Card card;
  Spinner spinner;
  const auto stream = make_stream();
  spinner.start(stream, (fact.quick ? 3 : 10) * second_ns);
  std::atomic<unsigned> accepted{0};
  std::atomic<bool> enough{false};
  std::thread submitter([&] {
    if (CU(cuCtxSetCurrent)(card.context) != CUDA_SUCCESS) return;
    while (!enough && accepted < 100'000) {
      spinner.submit_empty(stream);
      ++accepted;
    }
  });
  // It waits as soon as nothing more is accepted for a while.
  unsigned before = 0;
  double since = now();
  bool waits = false;
  while (!waits && now() - since < 0.3 && accepted < 100'000) {
    if (const unsigned here = accepted; here != before) before = here, since = now();
    waits = before > 0 && now() - since > 0.25;
  }
  enough = true;
  spinner.stop();
  submitter.join();
  spinner.wait(stream);
  fact.figures = {{"accepted", before}, {"then_the_call_waits", waits}};
  fact.sentence = waits ? fmt::format("{}, then the call waits", before)
                        : fmt::format("the call never waited, {} were taken", before);
}

FACT(time_slices, "P10", "How do two processes that both have work share the card, and what does changing over cost?") {
  const std::uint64_t kernel_ns = 200'000;
  const int kernels = fact.quick ? 20 : 5000;
  Other other([&](const Other::Line& line) {
    const Card card;
    Spinner spinner;
    const auto stream = make_stream();
    line(0);
    for (;;) {
      const double begin = now();
      for (int i = 0; i < kernels; ++i) spinner.submit(stream, kernel_ns);
      spinner.wait(stream);
      line(now() - begin);
    }
  });
  (void)other.hear();
  const Card card;
  Spinner spinner;
  const auto stream = make_stream();
  const auto run = [&] {
    const double begin = now();
    for (int i = 0; i < kernels; ++i) spinner.submit(stream, kernel_ns);
    spinner.wait(stream);
    return now() - begin;
  };
  const double alone = run();
  other.say(1);
  const double together = run(), its = other.hear();
  // How long a tiny kernel takes while the other one computes: the rest of its slice, and the change.
  other.say(1);
  std::vector<double> waits;
  for (int i = 0; i < (fact.quick ? 5 : 300); ++i) {
    const double begin = now();
    spinner.submit_empty(stream);
    spinner.wait(stream);
    waits.push_back((now() - begin) * 1e6);
  }
  (void)other.hear();
  std::sort(waits.begin(), waits.end());
  fact.figures = {{"kernels", kernels},
                  {"kernel_us", kernel_ns / 1000},
                  {"alone_s", alone},
                  {"together_s", together},
                  {"other_together_s", its},
                  {"tiny_kernel_p50_us", median(waits)},
                  {"tiny_kernel_p99_us", waits[waits.size() * 99 / 100]},
                  {"tiny_kernel_max_us", waits.back()}};
  fact.sentence = fmt::format(
      "{} kernels of 0.2 ms take {:.2f} s alone and {:.2f} s beside as many; a tiny one beside them waits "
      "{:.0f} us at the median and {:.0f} at most",
      kernels, alone, together, median(waits), waits.back());
}

}  // namespace lull::facts

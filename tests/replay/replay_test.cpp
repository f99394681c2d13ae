#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <numeric>
#include <sstream>

#include "tests/replay/arbiters.h"

namespace lull::replay {
namespace {

using policy::second;

Trace parsed(const std::string& text) {
  auto result = parse_trace(text, "test.trace");
  const auto* problem = std::get_if<TraceProblem>(&result);
  REQUIRE_MESSAGE(!problem, (problem ? problem->text : ""));
  return std::get<Trace>(result);
}

std::string problem_of(const std::string& text) {
  const auto result = parse_trace(text, "test.trace");
  const auto* problem = std::get_if<TraceProblem>(&result);
  return problem ? problem->text : "none";
}

Trace sample(const std::string& name) {
  std::ifstream file(std::string(LULL_TRACES) + "/" + name + ".trace");
  std::ostringstream text;
  text << file.rdbuf();
  return parsed(text.str());
}

double cost(const Outcome& o) { return std::max(0.0, o.seconds - o.busy - o.trained) + o.waited; }

std::size_t stages(const Trace& trace) {
  std::size_t count = 0;
  for (const Request& r : trace.requests) count += r.probe ? 0 : r.stages.size();
  return count;
}

Time slowest(const Outcome& o, double share) {
  std::vector<Time> all;
  for (const Answered& a : o.answered) all.push_back(a.latency);
  std::sort(all.begin(), all.end());
  return all.empty() ? 0 : all[static_cast<std::size_t>(share * static_cast<double>(all.size() - 1))];
}

Outcome run(const Trace& trace, Arbiter& arbiter, std::uint64_t seed = 1) {
  return Machine(trace, policy::Rules{}, seed).run(arbiter);
}

Outcome under_lull(const Trace& trace, std::uint64_t seed = 1) {
  Ours ours;
  return run(trace, ours, seed);
}

constexpr const char* card = "card memory=24GiB headroom=256MiB native=600MB link=10GB both=1 hash=1000GB\n";

TEST_CASE("a line that cannot be understood is named, with what is wrong") {
  const std::string head = std::string(card) + "tenant a inference 10GiB\nuntil 100s\n";
  CHECK_EQ(problem_of(head + "5s b:1s\n"), "test.trace:4: no tenant is called \"b\"");
  CHECK_EQ(problem_of(head + "5s a:1s\n4s a:1s\n"), "test.trace:5: it is earlier than the line before");
  CHECK_EQ(problem_of(head + "5s a\n"), "test.trace:4: \"a\" does not say how long; write NAME:TIME");
  CHECK_EQ(problem_of(head + "soon a:1s\n"),
           "test.trace:4: \"soon\" is no time; say for example \"12.5s\" or \"20ms\"");
  CHECK_EQ(problem_of(head + "5s\n"), "test.trace:4: it does not say of whom something is wanted");
  CHECK_EQ(problem_of(head + "500s a:1s\n"), "test.trace:4: a request comes after the end");
  CHECK_EQ(problem_of(head + "tenant t training 30GiB\n"), "test.trace:4: t does not fit the card");
  CHECK_EQ(problem_of("card speed=3\n"), "test.trace:1: \"speed=3\" is not known here");
  CHECK_EQ(problem_of("# nothing\n"), "test.trace:1: no tenant is named");
}

TEST_CASE("a request to a card that trains waits for the memory it lacks, and no longer") {
  const Trace trace = parsed(std::string(card) +
                             "tenant t training 20GiB kernel=1us\ntenant a inference 10GiB\nuntil 1000s\n100s a:2s\n");
  const Outcome o = under_lull(trace);
  REQUIRE_EQ(o.answered.size(), 1);
  CHECK_GE(o.answered[0].latency, o.answered[0].floor);
  CHECK_LT(static_cast<double>(o.answered[0].latency), 1.02 * static_cast<double>(o.answered[0].floor));
  CHECK_EQ(doctest::Approx(o.busy), 2.0);
  CHECK_EQ(doctest::Approx(o.waited), static_cast<double>(o.answered[0].latency) / second);
}

TEST_CASE("who fits beside the trainer waits for nothing, and nothing moves") {
  const Trace trace = parsed(std::string(card) + "tenant t training 8GiB\ntenant a inference 8GiB\nuntil 1000s\n" +
                             "100s a:1s\n200s a:1s\n300s a:1s\n");
  const Outcome o = under_lull(trace);
  REQUIRE_EQ(o.answered.size(), 3);
  CHECK_LT(o.answered[2].latency, policy::ms);
  CHECK_EQ(o.out, 0);
}

TEST_CASE("in every sample Lull answers all requests, no slower than a lock or a quantum does, near the floor") {
  for (const char* name : {"bursty", "calls", "diurnal", "notebook", "pipeline", "probes", "sparse", "trainers"}) {
    CAPTURE(name);
    const Trace trace = sample(name);
    const Outcome ours = under_lull(trace);
    CHECK_EQ(ours.answered.size(), stages(trace));
    CHECK_LE(ours.busy + ours.trained, ours.seconds * 1.000001);
    for (Lock lock : {fifo_lock(), quantum_of_30s()}) {
      const Outcome other = run(trace, lock);
      CHECK_LE(slowest(ours, 0.99), slowest(other, 0.99));
    }
    const double idle = ours.seconds - ours.busy - static_cast<double>(ours.switch_floor) / second;
    CHECK_GE(ours.trained, 0.97 * idle);
  }
}

TEST_CASE("a probe that leads to nothing moves no memory") {
  const Trace trace = parsed(std::string(card) + "tenant t training 20GiB\ntenant a inference 18GiB\nuntil 1000s\n" +
                             "100s probe a\n110s probe a\n120s probe a\n");
  const Outcome o = under_lull(trace);
  CHECK_EQ(o.out, 0);
  CHECK_GT(o.trained, 0.999 * o.seconds);
}

TEST_CASE("nobody loses less than who knows the future") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    const auto any = [&](std::uint64_t low, std::uint64_t high) { return low + random() % (high - low + 1); };
    std::string text = card;
    text += fmt::format("tenant t training {}GiB kernel={}ms\n", any(4, 22), any(1, 40));
    const auto services = any(1, 3);
    for (std::uint64_t s = 0; s < services; ++s) text += fmt::format("tenant s{} inference {}GiB\n", s, any(2, 20));
    text += "until 3600s\n";
    std::uint64_t at = 20'000;
    while ((at += any(10, 1 + (20'000 << any(0, 3)))) < 3'500'000)
      text += fmt::format("{}ms s{}:{}ms\n", at, any(0, services - 1), any(20, 3000));
    const Trace trace = parsed(text);
    Lock fifo = fifo_lock(), quantum = quantum_of_30s();
    const double bound = clairvoyant_cost(trace);
    CAPTURE(seed);
    const Outcome ours = under_lull(trace, seed);
    CHECK_EQ(ours.answered.size(), stages(trace));
    CHECK_GE(cost(ours), 0.98 * bound);
    CHECK_GE(cost(run(trace, fifo, seed)), 0.98 * bound);
    CHECK_GE(cost(run(trace, quantum, seed)), 0.98 * bound);
  }
}

}  // namespace
}  // namespace lull::replay

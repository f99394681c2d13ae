// The broker suite: deciding by itself, and a real lulld with clients that answer at once.
#define DOCTEST_CONFIG_IMPLEMENT  // tests/broker/lulld.cpp checks with it
#include "tests/bench/broker_bench.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "tests/bench/report.h"

namespace {

using namespace lull::bench;

Report measure(unsigned calls, unsigned samples) {
  Report report{"broker",
                "none",
                {{"broker.decide_us_64", decide_median_us(64, calls), "us", 20},
                 {"broker.decide_us_1000", decide_median_us(1000, calls), "us", 150},
                 {"broker.bytes_per_client", bytes_per_client(500), "bytes", 65536},
                 {"broker.idle_cpu_percent", idle_cpu_percent(64, 10), "%", 0.1}}};
  const GateTimes times = gate_times_us(samples);
  if (times.gate.empty()) return report;
  const double wake = percentile(times.wake, 0.5);
  report.metrics.push_back({"broker.gate_busy_p50_us", percentile(times.gate, 0.5), "us", wake + 20});
  report.metrics.push_back({"broker.wake_busy_p50_us", wake, "us", {}});
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the broker takes.", "broker-bench");
  std::string json;
  unsigned calls = 2000, samples = 100;
  app.add_option("--json", json, "write one JSON object to this file, or to standard output with -");
  app.add_option("--calls", calls, "decisions measured for each number of clients")->check(CLI::Range(10u, 1000000u));
  app.add_option("--samples", samples, "gates closed and threads woken")->check(CLI::Range(10u, 100000u));
  CLI11_PARSE(app, argc, argv);
  doctest::Context context;  // for what is checked outside a test case: it ends the run, with the reason
  context.setAsDefaultForAssertsOutOfTestCases();
  context.setAssertHandler([](const doctest::AssertData& failed) {
    if (!failed.m_failed) return;
    fmt::print(stderr, "broker: {}:{}: {} does not hold\n", failed.m_file, failed.m_line, failed.m_expr);
    std::_Exit(1);
  });
  return print(measure(calls, samples), json) ? 0 : 1;
}

// lull-replay: what a day would have been like under Lull's policy, and under others.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "broker/config.h"
#include "tests/replay/arbiters.h"

namespace {

using namespace lull;
using namespace lull::replay;
using json = nlohmann::json;

struct Failure {
  std::string text;
};

std::string contents_of(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Failure{fmt::format("{}: cannot be read", path)};
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Trace trace_from(const std::string& path) {
  auto parsed = parse_trace(contents_of(path), path);
  if (const auto* problem = std::get_if<TraceProblem>(&parsed)) throw Failure{problem->text};
  return std::get<Trace>(parsed);
}

policy::Rules rules_from(const std::string& path) {
  if (path.empty()) return {};
  auto loaded = load_config(path);
  if (const auto* problem = std::get_if<ConfigProblem>(&loaded)) throw Failure{problem->text};
  return std::get<Config>(loaded).rules;
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

template <class Value>
std::vector<double> in_ms(const Outcome& outcome, Value value) {
  std::vector<double> all;
  for (const Answered& a : outcome.answered) all.push_back(static_cast<double>(value(a)) / policy::ms);
  return all;
}

// Jain's index of what trainers got: 1 when all got the same.
json fairness(const Trace& trace, const Outcome& outcome) {
  double sum = 0, squares = 0;
  unsigned count = 0;
  for (std::size_t t = 0; t < trace.tenants.size(); ++t) {
    if (trace.tenants[t].klass != Class::training) continue;
    ++count;
    sum += outcome.of_tenant[t];
    squares += outcome.of_tenant[t] * outcome.of_tenant[t];
  }
  if (count < 2 || squares == 0) return nullptr;
  return sum * sum / (count * squares);
}

json ratio(double a, double b) { return b > 0 ? json(a / b) : json(nullptr); }

json report(const Trace& trace, const std::string& name, const Outcome& o) {
  const auto latency = in_ms(o, [](const Answered& a) { return a.latency; });
  const auto floor = in_ms(o, [](const Answered& a) { return a.floor; });
  // What switching leaves: each switch to a service costs at least its floor, and as much again to come back.
  const double left = o.seconds - o.busy - static_cast<double>(o.switch_floor) / policy::second;
  const double idle = std::max(0.0, o.seconds - o.busy - o.trained);
  const bool trains = std::any_of(trace.tenants.begin(), trace.tenants.end(),
                                  [](const Tenant& t) { return t.klass == Class::training; });
  const double cost = idle + o.waited;
  return {{"policy", name},
          {"requests", o.answered.size()},
          {"p50_ms", percentile(latency, 0.50)},
          {"p99_ms", percentile(latency, 0.99)},
          {"p99_over_floor", ratio(percentile(latency, 0.99), percentile(floor, 0.99))},
          {"switches", o.switches},
          {"trained_s", o.trained},
          {"recovered_share", trains ? ratio(o.trained, left) : json(nullptr)},
          {"waited_s", o.waited},
          {"fairness", fairness(trace, o)},
          {"cost_s", trains ? json(cost) : json(nullptr)},
          {"cost_over_clairvoyant", trains ? ratio(cost, clairvoyant_cost(trace)) : json(nullptr)},
          {"out_bytes", o.out},
          {"in_bytes", o.in}};
}

std::string cell(const json& value, int digits) {
  if (value.is_null()) return "-";
  return value.is_number_integer() ? fmt::format("{}", value.get<std::int64_t>())
                                   : fmt::format("{:.{}f}", value.get<double>(), digits);
}

void print_table(const json& all) {
  fmt::print("{}: {:.1f} h, {} requests\n\n", all["trace"].get<std::string>(), all["hours"].get<double>(),
             all["policies"][0]["requests"].get<std::uint64_t>());
  fmt::print("{:<16} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8}\n", "policy", "p50 ms", "p99 ms", "/ floor",
             "switches", "recovered", "fairness", "cost s", "/ bound");
  for (const json& p : all["policies"])
    fmt::print("{:<16} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8}\n", p["policy"].get<std::string>(),
               cell(p["p50_ms"], 1), cell(p["p99_ms"], 1), cell(p["p99_over_floor"], 2), cell(p["switches"], 0),
               cell(p["recovered_share"], 4), cell(p["fairness"], 3), cell(p["cost_s"], 1),
               cell(p["cost_over_clairvoyant"], 2));
}

json compare(const std::string& path, const policy::Rules& rules, std::uint64_t seed) {
  const Trace trace = trace_from(path);
  json all{{"trace", path},
           {"hours", static_cast<double>(trace.until) / policy::second / 3600},
           {"seed", seed},
           {"clairvoyant_cost_s", clairvoyant_cost(trace)},
           {"policies", json::array()}};
  Ours ours;
  Lock fifo = fifo_lock(), quantum = quantum_of_30s();
  const std::pair<const char*, Arbiter*> arbiters[] = {
      {"lull", &ours}, {"fifo lock", &fifo}, {"30 s quantum", &quantum}};
  for (const auto& [name, arbiter] : arbiters)
    all["policies"].push_back(report(trace, name, Machine(trace, rules, seed).run(*arbiter)));
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Replays a trace of requests under Lull's policy, a first-come lock, and a quantum of 30 s.",
               "lull-replay");
  std::string trace, config;
  bool as_json = false;
  std::uint64_t seed = 1;
  app.add_option("TRACE", trace, "what happened: tests/replay/trace.h says how it is written")->required();
  app.add_option("--config", config, "a broker's configuration; its [policy] is used (default: the defaults)");
  app.add_flag("--json", as_json, "print one JSON object");
  app.add_option("--seed", seed, "of where in its kernel a program is caught (default: 1)");
  CLI11_PARSE(app, argc, argv);
  try {
    const json all = compare(trace, rules_from(config), seed);
    if (as_json)
      std::cout << all.dump(2) << "\n";
    else
      print_table(all);
  } catch (const Failure& failure) {
    fmt::print(stderr, "lull-replay: {}\n", failure.text);
    return 1;
  }
  return 0;
}

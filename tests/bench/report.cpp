#include "tests/bench/report.h"

#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

namespace lull::bench {
namespace {

std::string processor() {
  std::ifstream list("/proc/cpuinfo");
  for (std::string line; std::getline(list, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "unknown processor";
}

struct Host {
  std::string cpu = processor();
  long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  std::string kernel;
  Host() {
    utsname system{};
    (void)::uname(&system);  // cannot fail with a valid address
    kernel = fmt::format("{} {}", system.sysname, system.release);
  }
};

bool met(const Metric& m) { return !m.goal || m.value <= *m.goal; }

double rounded(double value) { return std::round(value * 1000) / 1000; }

nlohmann::ordered_json to_json(const Report& report) {
  const Host host;
  nlohmann::ordered_json out{{"suite", report.suite}};
  out["host"] = {{"cpu", host.cpu}, {"cores", host.cores}, {"kernel", host.kernel}};
  out["gpu"] = report.gpu;
  out["metrics"] = nlohmann::ordered_json::array();
  for (const Metric& m : report.metrics) {
    nlohmann::ordered_json one{{"name", m.name}, {"value", rounded(m.value)}, {"unit", m.unit}};
    one["goal"] = m.goal ? nlohmann::ordered_json(rounded(*m.goal)) : nlohmann::ordered_json();
    one["met"] = m.goal ? nlohmann::ordered_json(met(m)) : nlohmann::ordered_json();
    out["metrics"].push_back(one);
  }
  return out;
}

void print_table(const Report& report) {
  const Host host;
  fmt::print("{}, on {} x {}, {}; GPU: {}\n", report.suite, host.cores, host.cpu, host.kernel, report.gpu);
  for (const Metric& m : report.metrics) {
    fmt::print("  {:<28} {:>12.2f} {:<4}", m.name, m.value, m.unit);
    if (m.goal) fmt::print("  goal <= {:.2f}: {}", *m.goal, met(m) ? "met" : "MISSED");
    fmt::print("\n");
  }
}

}  // namespace

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto last = static_cast<double>(values.size() - 1);
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(std::lround(share * last));
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

bool print(const Report& report, const std::string& json_path) {
  if (json_path.empty()) {
    print_table(report);
    return true;
  }
  const std::string text = to_json(report).dump(2) + "\n";
  FILE* file = json_path == "-" ? stdout : std::fopen(json_path.c_str(), "we");
  const bool written = file != nullptr && std::fputs(text.c_str(), file) >= 0 && std::fflush(file) == 0;
  if (!written) fmt::print(stderr, "cannot write {}: {}\n", json_path, std::strerror(errno));
  if (file != nullptr && file != stdout) (void)std::fclose(file);  // flushed above
  return written;
}

}  // namespace lull::bench

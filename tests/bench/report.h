// tests/bench/report.h: what a bench prints: one JSON object with --json -, or into a file; else a table.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace lull::bench {

struct Metric {
  std::string name;  // suite.what_unit
  double value;
  std::string unit;
  std::optional<double> goal;  // met when value is at most this
};

// The middle of the sorted values at `share` of 0..1; 0 without values.
double percentile(std::vector<double> values, double share);

struct Report {
  std::string suite;
  std::string gpu;  // which GPU was used, "none" where none is needed
  std::vector<Metric> metrics;
};

// json_path "": the table, to standard output. False: the file cannot be written, and standard error says why.
bool print(const Report&, const std::string& json_path);

}  // namespace lull::bench

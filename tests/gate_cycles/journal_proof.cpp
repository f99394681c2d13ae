#include "tests/gate_cycles/journal_proof.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <vector>

#include "tests/driver/journal/journal.h"

namespace lull::gate_cycles {
namespace {

using sim::Kind;
using sim::Record;

struct Window {
  std::uint64_t from, to;
};

// Spans of time, put in order and joined where they meet.
class Windows {
 public:
  void add(Window window) { all_.push_back(window); }
  void arrange() {
    std::sort(all_.begin(), all_.end(), [](const Window& a, const Window& b) { return a.from < b.from; });
    std::vector<Window> joined;
    for (const Window& w : all_) {
      if (!joined.empty() && w.from <= joined.back().to)
        joined.back().to = std::max(joined.back().to, w.to);
      else
        joined.push_back(w);
    }
    all_ = std::move(joined);
  }
  std::size_t count() const { return all_.size(); }
  const Window* meets(std::uint64_t from, std::uint64_t to) const {
    const auto after = std::partition_point(all_.begin(), all_.end(), [&](const Window& w) { return w.to <= from; });
    return after != all_.end() && after->from < to ? &*after : nullptr;
  }

 private:
  std::vector<Window> all_;
};

void visit(const std::string& journal, const std::function<void(const Record&)>& look) {
  std::string problem;
  if (!sim::visit_journal(journal, look, &problem)) throw std::runtime_error(problem);
}

bool is_call(const Record& record, std::uint16_t function) {
  return record.kind == Kind::call && record.function == function;
}

// Everything about mappings and the gate, by time: little, beside the launches.
std::vector<Record> turning_points(const std::string& journal) {
  const auto unmap = sim::function_number("cuMemUnmap"), access = sim::function_number("cuMemSetAccess");
  std::vector<Record> points;
  visit(journal, [&](const Record& record) {
    if (is_call(record, unmap) || is_call(record, access) || record.kind == Kind::mark) points.push_back(record);
  });
  std::sort(points.begin(), points.end(), [](const Record& a, const Record& b) { return a.start_ns < b.start_ns; });
  return points;
}

struct Spans {
  Windows absent, shut;
};

// What never ends in the journal is left out: the program's last frees.
Spans spans_of(const std::string& journal) {
  const auto unmap = sim::function_number("cuMemUnmap");
  Spans spans;
  std::map<std::uint64_t, std::uint64_t> away;  // address: since when
  std::uint64_t drained = 0;
  for (const Record& point : turning_points(journal)) {
    if (point.kind == Kind::mark) {
      if (sim::mark_text(point) == "drained") drained = point.start_ns;
      if (sim::mark_text(point) == "opening" && drained) spans.shut.add({drained, point.start_ns}), drained = 0;
    } else if (point.function == unmap) {
      away.try_emplace(point.address, point.start_ns);
    } else if (const auto since = away.find(point.address); since != away.end()) {
      spans.absent.add({since->second, point.end_ns});
      away.erase(since);
    }
  }
  spans.absent.arrange();
  spans.shut.arrange();
  return spans;
}

std::string told(const char* what, const Record& record, const Window& window) {
  const auto us = [](std::uint64_t ns) { return std::to_string(ns / 1000); };
  return std::string(what) + ": " + (record.kind == Kind::kernel ? "a kernel" : "a launch") + " from " +
         us(record.start_ns) + " to " + us(record.end_ns) + " us, the span is " + us(window.from) + " to " +
         us(window.to) + " us";
}

}  // namespace

Proof prove(const std::string& journal, std::uint64_t function) {
  const Spans spans = spans_of(journal);
  Proof proof;
  proof.absences = spans.absent.count();
  proof.shut = spans.shut.count();
  const auto launch = sim::function_number("cuLaunchKernel");
  visit(journal, [&](const Record& record) {
    const bool call = is_call(record, launch);
    if ((!call && record.kind != Kind::kernel) || record.address != function) return;
    ++(call ? proof.launches : proof.kernels);
    proof.failed += call && record.result != 0;
    const Window* absent = spans.absent.meets(record.start_ns, record.end_ns);
    const Window* shut = call ? spans.shut.meets(record.start_ns, record.start_ns + 1) : nullptr;
    proof.into_absent += absent != nullptr;
    proof.at_shut += shut != nullptr;
    if (absent && proof.first.empty()) proof.first = told("memory that was not there", record, *absent);
    if (shut && proof.first.empty()) proof.first = told("a gate that was shut", record, *shut);
  });
  return proof;
}

}  // namespace lull::gate_cycles

// broker/event_log.h: what has happened, one JSON line each: the last thousand, and whoever follows.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "broker/arbiter.h"
#include "broker/client.h"

namespace lull {

class EventLog {
 public:
  static constexpr std::size_t kept = 1000;
  void append(const nlohmann::json&);
  const std::deque<std::string>& lines() const { return lines_; }
  const std::map<std::string, std::uint64_t>& counts() const { return counts_; }  // of each kind, since the start
  std::function<void(const std::string&)> follower;                               // gets each new line

 private:
  std::deque<std::string> lines_;
  // The kinds are the broker's own words, so they are few. Those that call for a person are there from the start: who
  // watches a counter can tell its first step only from a 0.
  std::map<std::string, std::uint64_t> counts_ = {{"overdue", 0}, {"refused", 0}, {"stuck", 0}};
  std::uint64_t count_ = 0;
};

// The same shapes serve `lull events` and `lull status`. All times are CLOCK_MONOTONIC nanoseconds; absent is null.
nlohmann::json json_of(const Who&);
nlohmann::json json_of(const Switch&);
nlohmann::json json_of(const PhaseBook&);
std::string dump(const nlohmann::json&);  // one line; never throws, whatever bytes names hold

}  // namespace lull

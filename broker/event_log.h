// broker/event_log.h: what has happened, one JSON line each: the last thousand, and whoever follows.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
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
  std::function<void(const std::string&)> follower;  // gets each new line

 private:
  std::deque<std::string> lines_;
  std::uint64_t count_ = 0;
};

// The same shapes serve `lull events` and `lull status`. All times are CLOCK_MONOTONIC nanoseconds; absent is null.
nlohmann::json json_of(const Who&);
nlohmann::json json_of(const Switch&);
std::string dump(const nlohmann::json&);  // one line; never throws, whatever bytes names hold

}  // namespace lull

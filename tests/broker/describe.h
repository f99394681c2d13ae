// tests/broker/describe.h: decisions as words, so that a test reads "close 1 (request)" and a failure says what came.
#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

#include "broker/policy.h"

namespace lull::policy {

inline std::string describe(const Decision& decision, Time now) {
  struct Words {
    Time now;
    static std::string gib(Bytes b) { return fmt::format("{:g}G", static_cast<double>(b) / (1ull << 30)); }
    std::string later(Time t) const { return fmt::format("+{:g}ms", static_cast<double>(t - now) / ms); }
    std::string operator()(const SetGate& d) const {
      return fmt::format("{} {} ({})", d.state == GateState::open ? "open" : "close", d.client, name_of(d.reason));
    }
    std::string operator()(const SetQuota& d) const {
      return fmt::format("quota {} {} ({})", d.client, gib(d.quota), name_of(d.reason));
    }
    std::string operator()(const Arm& d) const { return fmt::format("arm {} {}us", d.client, d.drain_limit_us); }
    std::string operator()(const TakeLease& d) const {
      return fmt::format("lease {} ({})", d.client, name_of(d.reason));
    }
    std::string operator()(const EndLease& d) const { return fmt::format("end {} ({})", d.client, name_of(d.reason)); }
    std::string operator()(const LetGo& d) const { return fmt::format("let go {} {}", d.client, later(d.until)); }
    std::string operator()(const GiveNative& d) const {
      return fmt::format("native {} {} of {}", d.client, gib(d.given), gib(d.floor));
    }
    std::string operator()(const RefuseNative& d) const {
      return fmt::format("no native {} {}", d.client, gib(d.wanted));
    }
    std::string operator()(const TellGang& d) const {
      static constexpr const char* words[] = {"no place", "seated", "ready"};
      return fmt::format("{} {} wants {}", words[static_cast<int>(d.word.readiness)], d.client,
                         static_cast<int>(d.word.wants));
    }
    std::string operator()(const Stuck& d) const { return fmt::format("stuck {} ({})", d.client, name_of(d.reason)); }
    std::string operator()(const WakeAt& d) const { return fmt::format("wake {}", later(d.at)); }
  };
  return std::visit(Words{now}, decision);
}

inline std::vector<std::string> describe(const Decisions& decisions, Time now) {
  std::vector<std::string> words;
  for (const Decision& d : decisions) words.push_back(describe(d, now));
  return words;
}

}  // namespace lull::policy

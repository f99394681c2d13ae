// broker/cli/top_view.h: what lull top shows, taken out of the broker's answers. Plain data; all text is printable
// ASCII by now, whoever chose it.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "broker/cli/show.h"

namespace lull::cli {

// Processes of one tenant, class and user on one card.
struct TopTenant {
  std::string name, klass, state, why;
  std::uint64_t uid = 0;
  std::vector<std::uint64_t> pids;
  std::uint64_t on_card = 0, evicted = 0;         // bytes; on the card with what Lull cannot move
  std::uint64_t requests = 0;                     // in flight
  bool waits = false;                             // a submission has met a closed gate
  bool holds = false;                             // the lease
  std::uint64_t paused_ns = 0, connected_ns = 0;  // of all its processes
};

struct TopStranger {
  std::uint64_t pid = 0;
  std::string name;
  std::optional<std::uint64_t> bytes;
};

struct TopLease {
  std::string name, why;
  std::uint64_t since_ns = 0;
  std::optional<std::uint64_t> left_ns;  // nothing: until somebody asks for it
};

struct TopGpu {
  std::uint64_t number = 0;
  std::string uuid;
  std::uint64_t memory = 0, free = 0, foreign = 0;
  std::optional<TopLease> lease;
  std::uint64_t requests = 0, preemptions = 0, switches = 0, recovered_ns = 0;
  bool thrashing = false;
  std::vector<TopTenant> tenants;  // who holds the card, who waits, then by class and memory
  std::vector<TopStranger> strangers;
};

struct TopPhase {
  const char* name;
  std::uint64_t took_ns;  // since the phase before
};

struct TopSwitch {
  std::uint64_t id = 0, ago_ns = 0, total_ns = 0, out = 0, in = 0;
  std::optional<std::uint64_t> gpu;  // its number, where the card is one the broker still tells of
  std::string from, to, reason;
  std::vector<TopPhase> phases;
};

struct TopView {
  std::string version;
  std::uint64_t uptime_ns = 0, host_held = 0, host_budget = 0;
  std::string pressure;  // of host memory; "-" if the broker does not say
  std::vector<std::string> notes;
  std::vector<TopGpu> gpus;
  std::vector<TopStranger> holders;  // have a card open without the library, by the kernel's word
  std::vector<TopSwitch> switches;   // the newest first
  std::string problem;               // why the rest is old, or empty
};

using Naming = std::function<std::string(const std::string& tenant)>;  // of containers

// `events`: those of kind "switch" that are to be shown, the newest last.
TopView view_of(const json& status, const std::deque<json>& events, const Naming&);
json json_of(const TopView&);  // lull top --json

}  // namespace lull::cli

// broker/config.h: /etc/lull/lull.toml. One table (config_keys.cpp) drives parsing, defaults, bounds and documentation.
//
//   host_memory = "40GiB"          [limits]            [policy]             [gpu]   for every card, or
//                                  clients_per_uid     linger_min, …        [[gpu]] for one each: uuid, memory, …
//                                                                           [[service]]: tenant, ports, ignore, …
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "broker/policy.h"
#include "broker/uuid.h"

namespace lull {

// How the memory of a card is divided: total promised to a program = memory - slots * residue - headroom.
struct CardSizes {
  policy::Bytes residue = 600'000'000;    // contexts and modules of one process
  policy::Bytes headroom = 256ull << 20;  // never given out
  std::uint64_t slots = 3;                // processes that have a context at the same time
};

struct CardConfig {
  Uuid uuid{};
  std::optional<policy::Bytes> memory;  // needed only where NVML is not there to say it
  CardSizes sizes;
};

// One [[service]]: what is to be known of its requests that cannot be seen.
struct ServiceConfig {
  std::string tenant;
  std::string pipeline;  // services with the same text here are used one after another by a request
  std::vector<std::string> ports, wake_on, ignore, ignore_from;  // texts that service_rules.h understands
  std::uint32_t min_request_bytes = 0;
};

struct Config {
  std::string file;               // it was read from; "": none, all are defaults
  std::vector<std::string> said;  // keys that stand there: "policy.linger_min", "gpu.slots", "service[0].ports"
  std::optional<policy::Bytes> host_memory;             // nothing: by the memory of the machine (host_memory.h)
  std::optional<policy::Bytes> host_memory_keep_free;   // likewise
  std::optional<policy::Bytes> host_memory_per_uid;     // nothing: all but an eighth (host_memory.h)
  std::optional<policy::Bytes> reserve_per_uid;         // of a card; nothing: half of it
  policy::Time backing_linger = 60 * policy::second;    // time without need after which host memory goes back
  std::string spill_path;                               // directory for what host memory has no room for; "": none
  policy::Bytes spill_bytes = 64ull << 30;              // there, at most
  policy::Bytes spill_daily_write_bytes = 32ull << 30;  // there, of data that changes, in a day
  bool reserved_pages = false;  // of host memory: huge pages that are set aside, if there are any
  bool measure = true;          // cards, when they are idle
  std::uint64_t clients_per_uid = 64;
  policy::Time longest_hold = 3600 * policy::second;  // lull hold
  std::vector<std::string> gangs;                     // tenants whose processes run together
  std::vector<std::string> on_stuck;                  // a program and its arguments
  std::string on_stuck_user = "nobody";
  policy::Rules rules;
  CardSizes sizes;  // of cards without an entry of their own
  std::vector<CardConfig> cards;
  std::vector<ServiceConfig> services;
  const ServiceConfig& service(const std::string& tenant) const;  // with nothing in it, where there is none
};

struct ConfigProblem {
  std::string text;  // "lull.toml:3: unknown key \"lingermin\"; did you mean \"linger_min\"?"
};
using ConfigResult = std::variant<Config, ConfigProblem>;

ConfigResult load_config(const std::string& path);                          // a missing file is a problem
ConfigResult parse_config(std::string_view text, const std::string& name);  // `name` is for messages
std::string config_markdown();                                              // docs/configuration.md

}  // namespace lull

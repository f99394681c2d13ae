// broker/speed.h: what a card's link and calls have been measured to do, and what a switch will take by that.
//
// Plain numbers, which the policy takes as they are. Measured by a helper (measure.h), kept in a file for each card and
// driver version, which is read as a stranger's.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/policy.h"

namespace lull {

struct CardSpeed {
  // Bytes a second between the card and page-locked host memory: alone, and while the other way is busy.
  std::uint64_t to_host = 0, to_device = 0;
  std::uint64_t to_host_both = 0, to_device_both = 0;
  policy::Bytes knee = 0;  // the smallest piece that is copied at 95 % of these rates
  // Calls for one chunk: create + map + access, and unmap + release.
  struct Calls {
    policy::Bytes chunk;
    policy::Time make, drop;
  };
  std::vector<Calls> calls;
  policy::Time register_gib = 0;  // page-locking 1 GiB of touched host memory

  Calls calls_for(policy::Bytes chunk) const;  // of the nearest size, in proportion; zeroes: none was measured
};

struct StoredSpeed {
  std::string uuid, driver;  // of another card or driver it means nothing
  CardSpeed speed;
};

nlohmann::json json_of(const CardSpeed&);
std::string show_speed(const StoredSpeed&);
std::optional<CardSpeed> parse_speed(const nlohmann::json& untrusted);
std::optional<StoredSpeed> parse_stored(std::string_view untrusted);

// What the programs copy in one piece: twice the knee, so that a piece costs nothing by being one, within bounds that
// let a movement end soon which nobody wants any more.
policy::Bytes piece_of(const CardSpeed&);

// So much out and so much in, at the same time: as fast as both ways together let them as long as both have something,
// then as fast as one alone; the first chunk has to be out before anything comes in. Calls overlap with copies, but for
// one chunk's at each end.
policy::Time predict_move(const CardSpeed&, policy::Bytes out, policy::Bytes in, policy::Bytes chunk);

}  // namespace lull

// broker/units.h: sizes and durations as people write them: "20GiB", "600MB", "30s", "20ms", "never".
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "broker/policy.h"

namespace lull {

inline constexpr policy::Bytes kib = 1ull << 10, mib = 1ull << 20, gib = 1ull << 30, tib = 1ull << 40;

// Nothing: not a number with a unit, or too large for 64 bits. "0" needs no unit.
std::optional<policy::Bytes> parse_bytes(std::string_view);  // B kB MB GB TB KiB MiB GiB TiB
std::optional<policy::Time> parse_time(std::string_view);    // ns us ms s min h d; "never"

std::string show_bytes(policy::Bytes);  // exact where a unit divides it ("20GiB"), else "19.98GiB"
std::string show_time(policy::Time);    // "2.5ms", "30s", "never"

}  // namespace lull

// Quantities as people write them.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace lull::sim {

// Nothing if malformed or negative.
std::optional<std::uint64_t> parse_bytes(std::string_view text);  // "256MiB", "1GB", "1e9", "4096"

// Nothing without its unit, too.
std::optional<double> parse_number(std::string_view text);              // "1.5"
std::optional<std::uint64_t> parse_size(std::string_view text);         // "24GiB"
std::optional<std::uint64_t> parse_rate(std::string_view text);         // "25GB/s": bytes a second
std::optional<std::uint64_t> parse_duration_ns(std::string_view text);  // "2us", "97ms", "0.5s", "10ns"

}  // namespace lull::sim

#include "broker/units.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <span>

namespace lull {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};
constexpr Unit byte_units[] = {{"TiB", 1ull << 40},
                               {"GiB", 1ull << 30},
                               {"MiB", 1ull << 20},
                               {"KiB", 1ull << 10},
                               {"TB", 1'000'000'000'000},
                               {"GB", 1'000'000'000},
                               {"MB", 1'000'000},
                               {"kB", 1'000},
                               {"B", 1}};
constexpr Unit time_units[] = {{"d", 86400 * policy::second},
                               {"h", 3600 * policy::second},
                               {"min", 60 * policy::second},
                               {"s", policy::second},
                               {"ms", policy::ms},
                               {"us", 1000},
                               {"ns", 1}};

std::optional<std::uint64_t> parse(std::string_view text, std::span<const Unit> units) {
  if (text == "0") return 0;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !(number >= 0)) return std::nullopt;
  auto rest = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  for (const Unit& unit : units) {
    if (rest != unit.name) continue;
    const double value = number * static_cast<double>(unit.factor);
    if (value >= 0x1p63) return std::nullopt;
    return static_cast<std::uint64_t>(std::llround(value));
  }
  return std::nullopt;
}

// Two or three significant digits of the largest unit that leaves at least 1.
std::string show(std::uint64_t value, std::span<const Unit> units) {
  if (value == 0) return "0";
  for (const Unit& unit : units) {
    if (value < unit.factor) continue;
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
    return fmt::format("{:.2f}{}", static_cast<double>(value) / static_cast<double>(unit.factor), unit.name);
  }
  return fmt::format("{}", value);
}

}  // namespace

std::optional<policy::Bytes> parse_bytes(std::string_view text) { return parse(text, byte_units); }

std::optional<policy::Time> parse_time(std::string_view text) {
  if (text == "never") return policy::never;
  return parse(text, time_units);
}

std::string show_bytes(policy::Bytes bytes) {
  // A size that was written in decimal units is shown as it was written.
  if (bytes % 1'000'000 == 0 && bytes % (1u << 20) != 0) return show(bytes, std::span(byte_units).subspan(4));
  if (bytes < 1024) return fmt::format("{}B", bytes);
  return show(bytes, std::span(byte_units).first(4));
}

std::string show_time(policy::Time time) { return time == policy::never ? "never" : show(time, time_units); }

}  // namespace lull

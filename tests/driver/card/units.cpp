#include "tests/driver/card/units.h"

#include <charconv>
#include <cmath>

namespace lull::sim {
namespace {

// A number without sign, and not "inf" or "nan", taken from the front of the text.
std::optional<double> take_number(std::string_view& text) {
  if (text.empty() || (text[0] != '.' && (text[0] < '0' || text[0] > '9'))) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

double unit_bytes(std::string_view suffix) {
  if (suffix.empty() || suffix == "B") return 1;
  constexpr std::string_view letters = "KMGT";
  const auto power = letters.find(suffix[0] == 'k' ? 'K' : suffix[0]);
  if (power == std::string_view::npos) return 0;
  const auto rest = suffix.substr(1);
  if (rest == "iB" || rest == "i") return std::pow(1024.0, static_cast<double>(power + 1));
  return rest.empty() || rest == "B" ? std::pow(1000.0, static_cast<double>(power + 1)) : 0;
}

std::optional<std::uint64_t> whole(double value) {
  if (!(value >= 0 && value <= 1e18)) return std::nullopt;
  return static_cast<std::uint64_t>(value + 0.5);
}

bool has_unit(std::string_view text) { return !text.empty() && (text.back() == 'B' || text.back() == 'i'); }

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  const auto number = take_number(text);
  const double unit = unit_bytes(text);
  if (!number || unit == 0) return std::nullopt;
  return whole(*number * unit);
}

std::optional<double> parse_number(std::string_view text) {
  const auto number = take_number(text);
  return text.empty() ? number : std::nullopt;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  return has_unit(text) ? parse_bytes(text) : std::nullopt;
}

std::optional<std::uint64_t> parse_rate(std::string_view text) {
  if (!text.ends_with("/s")) return std::nullopt;
  text.remove_suffix(2);
  return parse_size(text);
}

std::optional<std::uint64_t> parse_duration_ns(std::string_view text) {
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  if (text == "ns") return whole(*number);
  if (text == "us") return whole(*number * 1e3);
  if (text == "ms") return whole(*number * 1e6);
  if (text == "s") return whole(*number * 1e9);
  return std::nullopt;
}

}  // namespace lull::sim

#include "broker/speed.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/units.h"

namespace lull {
namespace {

using nlohmann::json;
using policy::Bytes;
using policy::Time;

constexpr std::uint64_t least_rate = 1'000'000, most_rate = 10'000'000'000'000;  // 1 MB/s, 10 TB/s
constexpr Time longest = 1000 * policy::second;
constexpr std::size_t most_calls = 16;

// A whole number within bounds, or nothing.
std::optional<std::uint64_t> number(const json& object, const char* key, std::uint64_t least, std::uint64_t most) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number_unsigned()) return std::nullopt;
  const auto value = at->get<std::uint64_t>();
  return value >= least && value <= most ? std::optional(value) : std::nullopt;
}

bool take(const json& from, std::uint64_t least, std::uint64_t most, const char* key, std::uint64_t& value) {
  const auto read = number(from, key, least, most);
  if (read) value = *read;
  return read.has_value();
}

bool take_calls(const json& list, std::vector<CardSpeed::Calls>& calls) {
  if (!list.is_array() || list.size() > most_calls) return false;
  for (const auto& each : list) {
    CardSpeed::Calls c{};
    if (!each.is_object() || !take(each, 1, 64 * gib, "chunk", c.chunk) || !take(each, 0, longest, "make_ns", c.make) ||
        !take(each, 0, longest, "drop_ns", c.drop))
      return false;
    calls.push_back(c);
  }
  return true;
}

double seconds(Bytes bytes, std::uint64_t rate) {
  return rate == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(rate);
}
Time nanoseconds(double seconds) { return static_cast<Time>(seconds * 1e9); }

}  // namespace

CardSpeed::Calls CardSpeed::calls_for(Bytes chunk) const {
  const auto distance = [&](const Calls& c) {
    return std::max(c.chunk, chunk) / std::max<Bytes>(std::min(c.chunk, chunk), 1);
  };
  const auto nearest = std::min_element(calls.begin(), calls.end(),
                                        [&](const Calls& a, const Calls& b) { return distance(a) < distance(b); });
  if (nearest == calls.end()) return {chunk, 0, 0};
  const double share = static_cast<double>(chunk) / static_cast<double>(nearest->chunk);
  return {chunk, static_cast<Time>(static_cast<double>(nearest->make) * share),
          static_cast<Time>(static_cast<double>(nearest->drop) * share)};
}

json json_of(const CardSpeed& s) {
  json calls = json::array();
  for (const auto& c : s.calls) calls.push_back({{"chunk", c.chunk}, {"make_ns", c.make}, {"drop_ns", c.drop}});
  return {{"to_host", s.to_host},
          {"to_device", s.to_device},
          {"to_host_both", s.to_host_both},
          {"to_device_both", s.to_device_both},
          {"knee", s.knee},
          {"calls", calls},
          {"register_gib_ns", s.register_gib}};
}

std::string show_speed(const StoredSpeed& stored) {
  return json{{"schema", 1}, {"uuid", stored.uuid}, {"driver", stored.driver}, {"speed", json_of(stored.speed)}}.dump(
      1, ' ', false, json::error_handler_t::replace);
}

std::optional<CardSpeed> parse_speed(const json& from) {
  CardSpeed s;
  if (!from.is_object()) return std::nullopt;
  const bool rates = take(from, least_rate, most_rate, "to_host", s.to_host) &&
                     take(from, least_rate, most_rate, "to_device", s.to_device) &&
                     take(from, least_rate, most_rate, "to_host_both", s.to_host_both) &&
                     take(from, least_rate, most_rate, "to_device_both", s.to_device_both);
  if (!rates || !take(from, 1, gib, "knee", s.knee) || !take(from, 0, longest, "register_gib_ns", s.register_gib))
    return std::nullopt;
  const auto calls = from.find("calls");
  if (calls == from.end() || !take_calls(*calls, s.calls)) return std::nullopt;
  return s;
}

std::optional<StoredSpeed> parse_stored(std::string_view untrusted) {
  const auto all = json::parse(untrusted, nullptr, false);
  if (!all.is_object() || !number(all, "schema", 1, 1)) return std::nullopt;
  const auto uuid = all.find("uuid"), driver = all.find("driver"), speed = all.find("speed");
  if (uuid == all.end() || !uuid->is_string() || driver == all.end() || !driver->is_string() || speed == all.end())
    return std::nullopt;
  auto parsed = parse_speed(*speed);
  if (!parsed) return std::nullopt;
  return StoredSpeed{uuid->get<std::string>(), driver->get<std::string>(), std::move(*parsed)};
}

Bytes piece_of(const CardSpeed& speed) { return std::clamp((2 * speed.knee + mib - 1) / mib * mib, 8 * mib, 64 * mib); }

Time predict_move(const CardSpeed& s, Bytes out, Bytes in, Bytes chunk) {
  const auto calls = s.calls_for(chunk);
  const Bytes first = in > 0 ? std::min(out, chunk) : 0;
  double time = seconds(first, s.to_host);
  out -= first;
  const double together = std::min(seconds(out, s.to_host_both), seconds(in, s.to_device_both));
  const auto moved = [&](std::uint64_t rate) { return static_cast<Bytes>(together * static_cast<double>(rate)); };
  time += together + seconds(out - std::min(out, moved(s.to_host_both)), s.to_host) +
          seconds(in - std::min(in, moved(s.to_device_both)), s.to_device);
  return nanoseconds(time) + (out + first > 0 ? calls.drop : 0) + (in > 0 ? calls.make : 0);
}

}  // namespace lull

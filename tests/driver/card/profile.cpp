#include "tests/driver/card/profile.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tests/driver/card/units.h"

namespace lull::sim {
namespace {

enum class Unit { bytes, rate, time, count, percent };

struct Key {
  std::string_view name;
  Unit unit;
  std::uint64_t Profile::*whole;
  CallCost Profile::*cost = nullptr;  // instead of `whole`
  std::uint64_t CallCost::*part = nullptr;
  std::uint64_t least = 0, most = UINT64_MAX;
};

constexpr Key of_call(std::string_view name, CallCost Profile::*cost, std::uint64_t CallCost::*part) {
  return {name, Unit::time, nullptr, cost, part, 0, 60'000'000'000};
}

constexpr std::uint64_t tebibyte = std::uint64_t{1} << 40;
constexpr auto call = &CallCost::call_ns;
constexpr auto per_mib = &CallCost::mib_ns;
constexpr auto keys = std::to_array<Key>({
    {"memory", Unit::bytes, &Profile::memory_bytes, nullptr, nullptr, 8u << 20, tebibyte},
    {"context", Unit::bytes, &Profile::context_bytes, nullptr, nullptr, 0, tebibyte},
    {"module", Unit::bytes, &Profile::module_bytes, nullptr, nullptr, 0, tebibyte},
    {"link-generation", Unit::count, &Profile::link_generation, nullptr, nullptr, 1, 7},
    {"link-width", Unit::count, &Profile::link_width, nullptr, nullptr, 1, 32},
    {"to-device", Unit::rate, &Profile::to_device, nullptr, nullptr, 1000},
    {"to-device-duplex", Unit::rate, &Profile::to_device_duplex, nullptr, nullptr, 1000},
    {"to-host", Unit::rate, &Profile::to_host, nullptr, nullptr, 1000},
    {"to-host-duplex", Unit::rate, &Profile::to_host_duplex, nullptr, nullptr, 1000},
    {"copy-latency", Unit::time, &Profile::copy_latency_ns, nullptr, nullptr, 0, 60'000'000'000},
    {"pageable", Unit::percent, &Profile::pageable_percent, nullptr, nullptr, 1, 100},
    {"staging", Unit::bytes, &Profile::staging_bytes, nullptr, nullptr, 0, tebibyte},
    {"device-copy", Unit::rate, &Profile::device_copy, nullptr, nullptr, 1000},
    {"device-fill", Unit::rate, &Profile::device_fill, nullptr, nullptr, 1000},
    of_call("reserve-call", &Profile::reserve, call),
    of_call("create-call", &Profile::create, call),
    of_call("create-per-mib", &Profile::create, per_mib),
    of_call("map-call", &Profile::map, call),
    of_call("map-per-mib", &Profile::map, per_mib),
    of_call("set-access-call", &Profile::set_access, call),
    of_call("set-access-per-mib", &Profile::set_access, per_mib),
    of_call("unmap-call", &Profile::unmap, call),
    of_call("unmap-per-mib", &Profile::unmap, per_mib),
    of_call("release-call", &Profile::release, call),
    of_call("register-call", &Profile::host_register, call),
    of_call("register-per-mib", &Profile::host_register, per_mib),
    of_call("host-alloc-call", &Profile::host_alloc, call),
    of_call("host-alloc-per-mib", &Profile::host_alloc, per_mib),
    {"launch", Unit::time, &Profile::launch_ns, nullptr, nullptr, 0, 60'000'000'000},
});

struct Attribute {
  std::string_view name;
  int usual;
};
constexpr Attribute known_attributes[] = {
#define ATTRIBUTE(name, value) {#name, value},
#include "tests/driver/card/attributes.def"
#undef ATTRIBUTE
};

const Attribute* find_attribute(std::string_view name) {
  const auto* found = std::ranges::find(known_attributes, name, &Attribute::name);
  return found == std::end(known_attributes) ? nullptr : found;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// A # begins a comment, except inside the quotes of a text.
std::string_view without_comment(std::string_view line) {
  bool quoted = false;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '"') quoted = !quoted;
    if (line[at] == '#' && !quoted) return line.substr(0, at);
  }
  return line;
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  const auto number = parse_number(text);
  if (!number || *number != std::floor(*number) || *number > 1e15) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

std::optional<std::uint64_t> value_of(Unit unit, std::string_view text) {
  switch (unit) {
    case Unit::bytes: return parse_size(text);
    case Unit::rate: return parse_rate(text);
    case Unit::time: return parse_duration_ns(text);
    case Unit::count: return parse_count(text);
    case Unit::percent: return text.ends_with('%') ? parse_count(text.substr(0, text.size() - 1)) : std::nullopt;
  }
  return std::nullopt;
}

std::string_view example_of(Unit unit) {
  switch (unit) {
    case Unit::bytes: return "a size such as 256MiB";
    case Unit::rate: return "a rate such as 25GB/s";
    case Unit::time: return "a time such as 193us";
    case Unit::count: return "a whole number";
    case Unit::percent: return "a share such as 40%";
  }
  return "";
}

// One file being read: what it has said so far, and the first thing wrong with it.
class Reader {
 public:
  Reader(Profile& profile, std::string& problem) : profile_(profile), problem_(problem) {}

  bool line(std::string_view text) {
    text = trimmed(without_comment(text));
    if (text.empty()) return true;
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return refuse("'" + std::string(text) + "': expected key = value");
    const auto key = trimmed(text.substr(0, equals)), value = trimmed(text.substr(equals + 1));
    if (std::ranges::find(given_, key) != given_.end()) return refuse(std::string(key) + " is given twice");
    given_.emplace_back(key);
    return assign(key, value);
  }

  bool complete() {
    for (const std::string_view name : {"name", "time-scale"}) {
      if (std::ranges::find(given_, name) == given_.end()) return refuse(std::string(name) + " is missing");
    }
    for (const Key& key : keys) {
      if (std::ranges::find(given_, key.name) == given_.end())
        return refuse(std::string(key.name) + " is missing: expected " + std::string(example_of(key.unit)));
    }
    return true;
  }

 private:
  bool refuse(const std::string& why) {
    problem_ = why;
    return false;
  }

  bool assign(std::string_view key, std::string_view value) {
    if (key == "name") return name(value);
    if (key == "time-scale") return scale(value);
    if (key.starts_with("attribute.")) return attribute(key.substr(10), value);
    const auto found = std::ranges::find(keys, key, &Key::name);
    if (found == keys.end()) return refuse("'" + std::string(key) + "' is no key of a card; see profiles/sim.card");
    const auto parsed = value_of(found->unit, value);
    if (!parsed)
      return refuse(std::string(key) + " = " + std::string(value) + ": expected " +
                    std::string(example_of(found->unit)));
    if (*parsed < found->least || *parsed > found->most)
      return refuse(std::string(key) + " = " + std::string(value) + " is out of range");
    (found->whole ? profile_.*found->whole : profile_.*found->cost.*found->part) = *parsed;
    return true;
  }

  bool name(std::string_view value) {
    const bool quoted = value.size() > 2 && value.front() == '"' && value.back() == '"';
    const auto text = quoted ? value.substr(1, value.size() - 2) : std::string_view();
    const auto printable = [](char c) { return c >= ' ' && c <= '~' && c != '"'; };
    if (text.empty() || text.size() > 60 || !std::ranges::all_of(text, printable))
      return refuse("name: expected a \"text\" of at most 60 plain characters");
    // Nobody may take it for the card it imitates.
    if (text.find("simulated") == std::string_view::npos) return refuse("name: must say that the card is simulated");
    profile_.name = text;
    return true;
  }

  bool scale(std::string_view value) {
    const auto number = parse_number(value);
    if (!number || *number < 1 || *number > 1e6) return refuse("time-scale: expected a number from 1 to 1e6");
    profile_.time_scale = *number;
    return true;
  }

  bool attribute(std::string_view name, std::string_view value) {
    if (!find_attribute(name))
      return refuse("attribute." + std::string(name) + ": no CU_DEVICE_ATTRIBUTE_ has this name");
    const auto number = parse_count(value);
    if (!number || *number > INT32_MAX) return refuse("attribute." + std::string(name) + ": expected a whole number");
    profile_.attributes.emplace(name, static_cast<int>(*number));
    return true;
  }

  Profile& profile_;
  std::string& problem_;
  std::vector<std::string> given_;
};

}  // namespace

int Profile::attribute(std::string_view attribute_name) const {
  if (const auto own = attributes.find(attribute_name); own != attributes.end()) return own->second;
  const Attribute* found = find_attribute(attribute_name);
  return found ? found->usual : 0;
}

bool parse_profile(std::string_view text, const std::string& file, Profile& out, std::string& problem) {
  Profile read;
  Reader reader(read, problem);
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const auto end = std::min(text.find('\n'), text.size());
    if (!reader.line(text.substr(0, end))) {
      problem = file + ":" + std::to_string(number) + ": " + problem;
      return false;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (!reader.complete()) {
    problem = file + ": " + problem;
    return false;
  }
  out = std::move(read);
  return true;
}

}  // namespace lull::sim

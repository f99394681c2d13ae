#include "tests/driver/card/settings.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>

namespace lull::sim {
namespace {

std::uint64_t unit_of(const std::string& suffix) {
  if (suffix.empty() || suffix == "B") return 1;
  static const std::string letters = "KMGT";
  const auto power = letters.find(suffix[0] == 'k' ? 'K' : suffix[0]);
  if (power == std::string::npos) return 0;
  const std::string rest = suffix.substr(1);
  if (rest == "iB" || rest == "i") return std::uint64_t{1} << (10 * (power + 1));
  if (rest.empty() || rest == "B") return static_cast<std::uint64_t>(std::pow(1000.0, static_cast<double>(power + 1)));
  return 0;
}

void read_bytes(Settings& to, const char* name, std::uint64_t least, std::uint64_t& value) {
  const char* text = ::getenv(name);
  if (!text || !*text) return;
  const std::uint64_t bytes = parse_bytes(text);
  if (bytes >= least && bytes <= std::uint64_t{1} << 40) {
    value = bytes;
  } else {
    to.problem = std::string(name) + "='" + text + "': expected a size from " + std::to_string(least) +
                 " bytes to 1TiB, such as 256MiB";
  }
}

void read_devices(Settings& to) {
  const char* text = ::getenv("LULL_SIM_DEVICES");
  if (!text || !*text) return;
  to.devices = std::atoi(text);
  if (to.devices < 1 || to.devices > 8) to.problem = std::string("LULL_SIM_DEVICES='") + text + "': expected 1 to 8";
}

Settings read_environment() {
  Settings s;
  std::uint64_t memory = s.memory_bytes, context = s.context_bytes, module = s.module_bytes;
  read_bytes(s, "LULL_SIM_MEMORY", 8u << 20, memory);
  read_bytes(s, "LULL_SIM_LINK", 1000, s.link_bytes_per_s);
  read_bytes(s, "LULL_SIM_CONTEXT", 0, context);
  read_bytes(s, "LULL_SIM_MODULE", 0, module);
  s.memory_bytes = memory;
  s.context_bytes = context;
  s.module_bytes = module;
  read_devices(s);
  const char* pool = ::getenv("LULL_SIM_POOL");
  s.pool = pool && *pool ? pool : "/dev/shm/lull-sim-" + std::to_string(::getuid());
  if (const char* poison = ::getenv("LULL_SIM_POISON")) s.poison = poison[0] == '1';
  if (const char* journal = ::getenv("LULL_SIM_JOURNAL")) s.journal = journal;
  const char* faults = ::getenv("LULL_SIM_FAULTS");
  if (faults && !parse_faults(faults, s.faults)) {
    s.problem =
        std::string("LULL_SIM_FAULTS='") + faults + "': expected FUNCTION:NTH=ERROR;..., such as cuMemCreate:3=2";
  }
  return s;
}

bool parse_fault(const std::string& text, Fault& fault) {
  const auto colon = text.find(':');
  const auto equals = text.find('=');
  if (colon == std::string::npos || equals == std::string::npos || colon > equals) return false;
  fault.and_later = text[equals - 1] == '+';
  fault.function = text.substr(0, colon);
  char* end = nullptr;
  fault.nth = std::strtoull(text.c_str() + colon + 1, &end, 10);
  if (end != text.c_str() + equals - (fault.and_later ? 1 : 0) || fault.nth == 0) return false;
  fault.error = static_cast<int>(std::strtol(text.c_str() + equals + 1, &end, 10));
  return *end == 0 && fault.error > 0 && fault.function.starts_with("cu");
}

}  // namespace

std::uint64_t parse_bytes(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const double bytes = number * static_cast<double>(unit_of(end));
  if (end == text.c_str() || !(bytes >= 0) || bytes > 1e18) return 0;
  return static_cast<std::uint64_t>(bytes);
}

bool parse_faults(const std::string& text, std::vector<Fault>& out) {
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find(';', at), text.size());
    Fault fault;
    if (end > at) {
      if (!parse_fault(text.substr(at, end - at), fault)) return false;
      out.push_back(fault);
    }
    at = end + 1;
  }
  return true;
}

const Settings& settings() {
  static const Settings& read = *new Settings(read_environment());
  return read;
}

}  // namespace lull::sim

#include "tests/driver/card/settings.h"

#include <unistd.h>

#include <cstdlib>

namespace lull::sim {
namespace {

void read_bytes(Settings& to, const char* name, std::uint64_t least, std::uint64_t& value) {
  const char* text = ::getenv(name);
  if (!text || !*text) return;
  const auto bytes = parse_bytes(text);
  if (bytes && *bytes >= least && *bytes <= std::uint64_t{1} << 40) {
    value = *bytes;
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

void read_scale(Settings& to) {
  const char* text = ::getenv("LULL_SIM_SCALE");
  if (!text || !*text) return;
  const auto number = parse_number(text);
  if (number && *number >= 1 && *number <= 1e6)
    to.card.time_scale = *number;
  else
    to.problem = std::string("LULL_SIM_SCALE='") + text + "': expected a number from 1 to 1e6";
}

// The profile first: all else is an exception from it.
void read_card(Settings& to) {
  const char* name = ::getenv("LULL_SIM_CARD");
  std::string problem;
  if (!load_profile(name && *name ? name : "sim", to.card, problem)) to.problem = "LULL_SIM_CARD: " + problem;
  std::uint64_t link = 0;
  read_bytes(to, "LULL_SIM_MEMORY", 8u << 20, to.card.memory_bytes);
  read_bytes(to, "LULL_SIM_LINK", 1000, link);
  read_bytes(to, "LULL_SIM_CONTEXT", 0, to.card.context_bytes);
  read_bytes(to, "LULL_SIM_MODULE", 0, to.card.module_bytes);
  if (link) to.card.to_device = to.card.to_device_duplex = to.card.to_host = to.card.to_host_duplex = link;
  read_scale(to);
  to.memory_bytes = to.card.memory_bytes;
  to.context_bytes = to.card.context_bytes;
  to.module_bytes = to.card.module_bytes;
}

void read_queue(Settings& to) {
  const char* text = ::getenv("LULL_SIM_QUEUE");
  if (!text || !*text) return;
  char* end = nullptr;
  const long depth = std::strtol(text, &end, 10);
  if (*end || depth < 1 || depth > 1'000'000)
    to.problem = std::string("LULL_SIM_QUEUE='") + text + "': expected 1 to 1000000";
  else
    to.queue_depth = static_cast<std::size_t>(depth);
}

Settings read_environment() {
  Settings s;
  read_card(s);
  std::uint64_t graph = s.graph_bytes;
  read_bytes(s, "LULL_SIM_GRAPH", 0, graph);
  s.graph_bytes = graph;
  read_queue(s);
  read_devices(s);
  const char* pool = ::getenv("LULL_SIM_POOL");
  s.pool = pool && *pool ? pool : "/dev/shm/lull-sim-" + std::to_string(::getuid());
  // As the driver takes it: what it does not know is not an error.
  if (const char* loading = ::getenv("CUDA_MODULE_LOADING")) s.lazy_loading = std::string(loading) != "EAGER";
  if (const char* poison = ::getenv("LULL_SIM_POISON")) s.poison = poison[0] == '1';
  if (const char* report = ::getenv("LULL_SIM_REPORT")) s.report = report;
  if (const char* journal = ::getenv("LULL_SIM_JOURNAL")) s.journal = journal;
  if (const char* faults = ::getenv("LULL_SIM_FAULTS")) s.faults = faults;
  if (const char* control = ::getenv("LULL_SIM_CONTROL")) s.control = control;
  return s;
}

}  // namespace

const Settings& settings() {
  static const Settings& read = *new Settings(read_environment());
  return read;
}

std::uint64_t stretched_ns(std::uint64_t modelled_ns) {
  return static_cast<std::uint64_t>(static_cast<double>(modelled_ns) * settings().card.time_scale);
}

std::uint64_t modelled_ns(std::uint64_t real_ns) {
  return static_cast<std::uint64_t>(static_cast<double>(real_ns) / settings().card.time_scale);
}

}  // namespace lull::sim

#include "broker/gpu_watch.h"

#include <signal.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include "broker/identity.h"

namespace lull {
namespace {

constexpr std::uint32_t first_without_memory = 254;  // of the cards' major: modeset, and 255 the control node
constexpr std::size_t most_holders = 1024;

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool has_shim(int pid) {
  return read_file("/proc/" + std::to_string(pid) + "/maps").find("/liblull.so") != std::string::npos;
}

std::string printable(std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~' || c == '"') c = '?';
  return text;
}

}  // namespace

std::vector<Device> gpu_devices(std::string_view text) {
  std::vector<Device> found;
  std::istringstream lines{std::string(text.substr(0, text.find("Block devices")))};
  std::uint32_t major = 0;
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    if (!(fields >> major >> name)) continue;
    // The driver's one major has had several names: "nvidia-frontend", "nvidia".
    if (name == "nvidia" || name == "nvidia-frontend" || name == "nvidia-uvm") found.push_back({major, std::nullopt});
  }
  return found;
}

const Holder* GpuWatch::opened(const DeviceOpen& open) {
  if (open.minor >= first_without_memory) return nullptr;
  const int pid = static_cast<int>(open.tgid);
  const auto [at, fresh] = holders_.try_emplace(pid);
  Holder& holder = at->second;
  if (fresh && holders_.size() > most_holders) {
    holders_.erase(at);
    return nullptr;
  }
  holder.minors.insert(open.minor);
  holder.client = open.client;
  if (!fresh) return nullptr;
  holder.pid = pid;
  holder.since = open.time_ns;
  holder.comm = open.comm.empty() ? read_file("/proc/" + std::to_string(pid) + "/comm") : open.comm;
  while (!holder.comm.empty() && holder.comm.back() == '\n') holder.comm.pop_back();
  holder.comm = printable(std::move(holder.comm));
  holder.tenant = container_or_unit_of(pid).value_or("");
  holder.shim = open.client || has_shim(pid);
  return &holder;
}

void GpuWatch::forget_dead(const std::function<void(const Holder&)>& gone) {
  for (auto at = holders_.begin(); at != holders_.end();) {
    const bool dead = ::kill(at->first, 0) != 0 && errno == ESRCH;
    if (dead) gone(at->second);
    at = dead ? holders_.erase(at) : std::next(at);
  }
}

}  // namespace lull

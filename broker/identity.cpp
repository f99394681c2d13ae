#include "broker/identity.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <sstream>

#include "broker/clock.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace lull {
namespace {

std::string read_proc(int pid, const char* file) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/" + file);
  std::string text(4096, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

// A name must not be able to end a quoted value in the log.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 63));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~' || c == '"'; }, '?');
  return out;
}

bool is_container_id(std::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return std::isxdigit(static_cast<unsigned char>(c)); });
}

// One directory of a cgroup path.
std::optional<std::string> container_of(std::string_view part, std::string_view above) {
  auto id = part;
  if (id.ends_with(".scope")) id.remove_suffix(6);
  std::string engine = above == "docker" ? "docker" : "container";
  for (const auto& [prefix, name] :
       {std::pair{"docker-", "docker"}, {"libpod-", "podman"}, {"cri-containerd-", "containerd"}, {"crio-", "crio"}})
    if (id.starts_with(prefix)) {
      id.remove_prefix(std::string_view(prefix).size());
      engine = name;
      break;
    }
  if (!is_container_id(id)) return std::nullopt;
  return engine + ":" + std::string(id.substr(0, 12));
}

std::optional<std::string> name_in_path(std::string_view path) {
  std::optional<std::string> container, unit;
  std::string_view above;
  while (!path.empty()) {
    path.remove_prefix(1);
    const auto part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    if (auto found = container_of(part, above)) container = std::move(found);
    // user@1000.service holds everything of a user and names nothing.
    if (part.ends_with(".service") && !part.starts_with("user@")) unit = printable(part);
    above = part;
  }
  return container ? container : unit;
}

}  // namespace

std::optional<std::string> container_or_unit(std::string_view text) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto path = line.find(":/");  // "0::/system.slice/x.service", "4:memory:/docker/…"
    if (path == std::string_view::npos) continue;
    if (auto name = name_in_path(line.substr(path + 1))) return name;
  }
  return std::nullopt;
}

std::optional<std::string> container_or_unit_of(int pid) { return container_or_unit(read_proc(pid, "cgroup")); }

std::uint64_t own_cgroup(int pid) {
  const auto text = read_proc(pid, "cgroup");
  const auto line = text.rfind("0::/", 0) == 0 ? 0 : text.find("\n0::/") + 1;
  if (line == 0 && text.rfind("0::/", 0) != 0) return 0;
  const auto path = text.substr(line + 3, text.find('\n', line) - line - 3);
  if (!name_in_path(path)) return 0;
  for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct stat status;
    const auto where = root + path;
    struct statfs system;
    if (::statfs(where.c_str(), &system) == 0 && system.f_type == CGROUP2_SUPER_MAGIC &&
        ::stat(where.c_str(), &status) == 0)
      return status.st_ino;
  }
  return 0;
}

std::string tenant_name(std::string_view chosen, int pid) {
  if (!chosen.empty()) return printable(chosen);
  if (auto name = container_or_unit_of(pid)) return *name;
  auto command = read_proc(pid, "comm");
  while (!command.empty() && command.back() == '\n') command.pop_back();
  return command.empty() ? "pid " + std::to_string(pid) : printable(command);
}

namespace {

// A number in /proc/PID/stat, by its place in proc(5), counted from 1.
std::optional<std::uint64_t> stat_field(int pid, int number) {
  const auto stat = read_proc(pid, "stat");
  const auto name_end = stat.rfind(')');  // the name may hold anything, even ')'
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < number; ++field) fields >> skipped;
  std::uint64_t value = 0;
  return fields >> value ? std::optional(value) : std::nullopt;
}

}  // namespace

std::optional<int> parent_of(int pid) {
  const auto parent = stat_field(pid, 4);
  return parent ? std::optional(static_cast<int>(*parent)) : std::nullopt;
}

std::optional<policy::Time> process_age(int pid) {
  const auto ticks = stat_field(pid, 22);
  if (!ticks) return std::nullopt;
  const std::uint64_t started_ticks = *ticks;
  timespec boot{};
  (void)::clock_gettime(CLOCK_BOOTTIME, &boot);  // the clock of that field; cannot fail
  const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  const auto started = started_ticks * (policy::second / per_second);
  const auto now = static_cast<policy::Time>(boot.tv_sec) * policy::second + static_cast<policy::Time>(boot.tv_nsec);
  return now > started ? now - started : 0;
}

Result<Fd> pidfd_of(int socket, const Peer& peer) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) return Fd(fd);
  Fd opened(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));  // Linux before 6.5
  if (!opened) return system_error("pidfd_open");
  return opened;
}

}  // namespace lull

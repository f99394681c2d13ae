// broker/cli/doctor_machine.cpp: what the machine has to bring.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "broker/cli/doctor.h"
#include "broker/cli/library.h"

namespace lull::cli {
namespace fs = std::filesystem;

void check_device_nodes(const Patient&, Findings& findings) {
  std::vector<std::string> found, closed;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/dev", error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with("nvidia") || !entry.is_character_file(error)) continue;
    found.push_back(name);
    if (::access(entry.path().c_str(), R_OK | W_OK) != 0) closed.push_back(name);
  }
  std::sort(found.begin(), found.end());
  if (found.empty())
    return findings.push_back({"device nodes", Health::warn, "no /dev/nvidia*",
                               "with a real card: modprobe nvidia nvidia-uvm; nvidia-smi makes the nodes"});
  if (!closed.empty())
    return findings.push_back({"device nodes", Health::warn, fmt::format("not open to you: /dev/{}", closed.front()),
                               "programs of this user cannot use the card; see the modes of /dev/nvidia*"});
  findings.push_back({"device nodes", Health::ok, fmt::format("{}: {}", found.size(), fmt::join(found, " ")), ""});
}

void check_library(const Patient&, Findings& findings) {
  std::string tried;
  const auto library = find_library(tried);
  if (!library)
    return findings.push_back({"library", Health::fail, "liblull.so is not at " + tried,
                               "install the package again, or name the library with LULL_LIBRARY"});
  const auto others = fs::status(*library).permissions() & fs::perms::others_read;
  if (others == fs::perms::none)
    return findings.push_back({"library", Health::warn, *library + " cannot be read by everybody",
                               "chmod a+r, or programs of other users run without it"});
  findings.push_back({"library", Health::ok, *library, ""});
}

void check_cgroups(const Patient&, Findings& findings) {
  constexpr long cgroup2 = 0x63677270;
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs s;
    if (::statfs(place, &s) == 0 && s.f_type == cgroup2)
      return findings.push_back({"cgroup2", Health::ok, fmt::format("at {}", place), ""});
  }
  findings.push_back({"cgroup2", Health::warn, "not mounted: requests are not seen before they wait",
                      "boot with systemd.unified_cgroup_hierarchy=1"});
}

// lulld locks its own few pages; evicted memory is locked by the driver, which this limit does not concern.
void check_locked_memory(const Patient& patient, Findings& findings) {
  rlimit limit{};
  const int pid = static_cast<int>(number(patient.status, "pid"));
  if (pid == 0 || ::prlimit(pid, RLIMIT_MEMLOCK, nullptr, &limit) != 0) {
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  }
  constexpr rlim_t enough = 8u << 20;
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < enough)
    return findings.push_back({"locked memory", Health::warn, fmt::format("at most {}", bytes(limit.rlim_cur)),
                               "LimitMEMLOCK=infinity in lulld.service, so that lulld answers at once under memory "
                               "pressure"});
  findings.push_back({"locked memory", Health::ok,
                      limit.rlim_cur == RLIM_INFINITY ? "not limited" : "at most " + bytes(limit.rlim_cur), ""});
}

}  // namespace lull::cli

// broker/cli/doctor_engine.cpp: Docker and podman: whether they can be asked for Lull by --device, and what takes GPUs
// away from running containers.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

#include "broker/cli/child.h"
#include "broker/cli/cli.h"
#include "broker/cli/doctor.h"

namespace lull::cli {
namespace {

namespace fs = std::filesystem;

struct Version {
  int major = 0, minor = 0;
  bool at_least(int a, int b) const { return major > a || (major == a && minor >= b); }
};

Version version_in(const std::string& text) {
  Version v;
  (void)std::sscanf(text.c_str(), "%d.%d", &v.major, &v.minor);
  return v;
}

std::string first_line_of(const std::string& text) { return text.substr(0, text.find('\n')); }

// From 28.2 on devices by name are on; from 25 on they can be switched on; before, there are none.
void check_docker(Findings& findings, bool& any) {
  const auto version = run_program({"docker", "version", "--format", "{{.Server.Version}}"}, engine_limit);
  if (version.end == ChildOutput::End::exited && version.status == not_found) return;
  any = true;
  if (!version.good())
    return findings.push_back({"docker", Health::warn, "installed, but its daemon does not answer you",
                               "systemctl start docker; be in its group, or ask as root"});
  const auto number = first_line_of(version.text);
  if (!version_in(number).at_least(25, 0))
    return findings.push_back({"docker", Health::warn, fmt::format("{} knows no devices by name (CDI)", number),
                               "start containers with: docker run $(lull docker-args training) ..."});
  const auto about = run_program({"docker", "info", "--format", "{{json .CDISpecDirs}}"}, engine_limit);
  const auto directories = json::parse(about.text, nullptr, false);
  if (!about.good() || !directories.is_array() || directories.empty())
    return findings.push_back({"docker", Health::warn, fmt::format("{}: devices by name (CDI) are off", number),
                               "{\"features\": {\"cdi\": true}} in /etc/docker/daemon.json, then restart docker"});
  findings.push_back({"docker", Health::ok, fmt::format("{}, devices by name (CDI)", number), ""});
}

void check_podman(Findings& findings, bool& any) {
  const auto version = run_program({"podman", "version", "--format", "{{.Client.Version}}"}, engine_limit);
  if (version.end == ChildOutput::End::exited && version.status == not_found) return;
  any = true;
  const auto number = first_line_of(version.text);
  if (!version.good())
    return findings.push_back({"podman", Health::warn, "installed, but does not tell its version", "podman info"});
  if (!version_in(number).at_least(4, 1))
    return findings.push_back({"podman", Health::warn, fmt::format("{} knows no devices by name (CDI)", number),
                               "podman 4.1 or later, or: podman run $(lull docker-args training) ..."});
  findings.push_back({"podman", Health::ok, fmt::format("{}, devices by name (CDI)", number), ""});
}

// Of a specification file, whichever of JSON and YAML it is written in: the places on the host that it mounts.
std::vector<std::string> mounted_by(const std::string& specification) {
  constexpr std::string_view key = "hostPath";
  std::vector<std::string> found;
  for (auto at = specification.find(key); at != std::string::npos; at = specification.find(key, at)) {
    at = specification.find_first_not_of("\": \t", at + key.size());
    const auto end = specification.find_first_of("\",} \t\r\n", at);
    if (at != std::string::npos && end != at) found.push_back(specification.substr(at, end - at));
  }
  return found;
}

// Engines refuse to start a container for which anything that a device mounts is missing.
void check_specification(Findings& findings) {
  std::error_code error;
  for (const char* directory : {"/etc/cdi", "/var/run/cdi", "/run/cdi"})
    for (const auto& entry : fs::directory_iterator(directory, error)) {
      const auto end = entry.path().extension();
      if (end != ".json" && end != ".yaml") continue;
      std::ifstream file(entry.path());
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      if (text.find("lull.dev/gpu") == std::string::npos) continue;
      const auto name = entry.path().string();
      for (const auto& path : mounted_by(text))
        if (!fs::exists(path, error))
          return findings.push_back({"device names", Health::fail,
                                     fmt::format("{} mounts {}, which is not there", name, path),
                                     "start lulld, or write it anew: lull cdi"});
      return findings.push_back({"device names", Health::ok, fmt::format("lull.dev/gpu is in {}", name), ""});
    }
  findings.push_back({"device names", Health::warn, "no lull.dev/gpu in /etc/cdi or /run/cdi",
                      "lull cdi --help says where to put it; then: docker run --device lull.dev/gpu=training ..."});
}

}  // namespace

void check_engines(const Patient&, Findings& findings) {
  bool any = false;
  check_docker(findings, any);
  check_podman(findings, any);
  if (any)
    check_specification(findings);
  else
    findings.push_back({"containers", Health::ok, "neither docker nor podman here", ""});
}

// systemd, told to reload, writes the devices of each unit's cgroup anew, and finds by /dev/char only; what has no link
// there is taken from running containers. See github.com/NVIDIA/nvidia-container-toolkit, issue 48.
void check_device_links(const Patient&, Findings& findings) {
  std::error_code error;
  if (!fs::exists("/run/systemd/system", error)) return;
  std::string missing;
  std::size_t nodes = 0;
  for (const auto& entry : fs::directory_iterator("/dev", error)) {
    struct stat s;
    if (!entry.path().filename().string().starts_with("nvidia") || ::stat(entry.path().c_str(), &s) != 0 ||
        !S_ISCHR(s.st_mode))
      continue;
    ++nodes;
    const auto link = fmt::format("/dev/char/{}:{}", major(s.st_rdev), minor(s.st_rdev));
    if (!fs::exists(link, error)) missing = entry.path().string();
  }
  if (nodes == 0) return;
  if (!missing.empty())
    return findings.push_back({"device links", Health::warn, missing + " has no link in /dev/char",
                               "a `systemctl daemon-reload` takes the GPU from containers of runc's systemd driver: "
                               "nvidia-ctk system create-dev-char-symlinks --create-all"});
  findings.push_back({"device links", Health::ok, "all in /dev/char: a daemon-reload harms no container", ""});
}

}  // namespace lull::cli

// broker/cli/doctor_container.cpp: one container: is the library there, can it be loaded, is it, and does it reach
// lulld?
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "broker/cli/child.h"
#include "broker/cli/doctor.h"

namespace lull::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* library_name = "liblull.so";
constexpr const char* driver_name = "/libcuda.so.";
constexpr int oldest_glibc = 28;  // 2.28: see CONTRIBUTING.md

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of the container's first process; 0: there is none.
long first_process(const std::string& name) {
  for (const char* engine : {"docker", "podman"}) {
    const auto said = run_program({engine, "inspect", "--format", "{{.State.Pid}}", name}, engine_limit);
    if (const long pid = said.good() ? std::atol(said.text.c_str()) : 0; pid > 0) return pid;
  }
  return 0;
}

struct Container {
  long pid;
  fs::path root, proc;
};

// What a program of the container finds under this name. A link is followed as it would be inside.
fs::path inside(const Container& c, fs::path path) {
  std::error_code error;
  for (int links = 0; links < 16; ++links) {
    fs::path walked = "/";
    bool followed = false;
    for (auto part = path.begin(); part != path.end(); ++part) {
      if (*part == "/") continue;
      const fs::path next = walked / *part, real = c.root / next.relative_path();
      if (!followed && fs::is_symlink(real, error)) {
        const auto target = fs::read_symlink(real, error);
        walked = (target.is_absolute() ? target : walked / target).lexically_normal();
        followed = true;
      } else {
        walked = next;
      }
    }
    path = walked;
    if (!followed) break;
  }
  return c.root / path.relative_path();
}

// glibc says which it is in a sentence of its own; the minor number of 2.N.
std::optional<int> glibc_of(const Container& c) {
  for (const char* place :
       {"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib64/libc.so.6", "/usr/lib/libc.so.6", "/lib/libc.so.6"}) {
    const auto library = contents(inside(c, place));
    constexpr std::string_view says = " release version 2.";
    if (const auto at = library.find(says); at != std::string::npos)
      return std::atoi(library.c_str() + at + says.size());
  }
  return std::nullopt;
}

bool has_musl(const Container& c) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(inside(c, "/lib"), error))
    if (entry.path().filename().string().starts_with("ld-musl-")) return true;
  return false;
}

void check_libc(const Container& c, Findings& findings) {
  const auto glibc = glibc_of(c);
  if (!glibc)
    return findings.push_back(
        {"C library", Health::fail,
         has_musl(c) ? "musl: NVIDIA's driver is not made for it, and Lull stays out" : "no glibc where images have it",
         "an image with glibc 2.28 or later (Debian 10, Ubuntu 20.04, RHEL 8)"});
  if (*glibc < oldest_glibc)
    return findings.push_back({"C library", Health::fail,
                               fmt::format("glibc 2.{} is older than the library needs", *glibc),
                               "an image with glibc 2.28 or later"});
  findings.push_back({"C library", Health::ok, fmt::format("glibc 2.{}", *glibc), ""});
}

std::string variable(const Container& c, const std::string& name) {
  const auto all = contents(c.proc / "environ");
  for (std::size_t at = 0; at < all.size();) {
    const auto end = std::min(all.find('\0', at), all.size());
    if (all.compare(at, name.size() + 1, name + "=") == 0)
      return all.substr(at + name.size() + 1, end - at - name.size() - 1);
    at = end + 1;
  }
  return {};
}

// The name by which the loader is told of the library; "": it is not.
std::string preloaded(const Container& c) {
  for (const auto& list : {contents(inside(c, "/etc/ld.so.preload")), variable(c, "LD_PRELOAD")})
    for (std::size_t at = 0; at < list.size();) {
      const auto end = std::min(list.find_first_of(": \t\n", at), list.size());
      if (auto word = list.substr(at, end - at); word.ends_with(library_name)) return word;
      at = end + 1;
    }
  return {};
}

bool is_there(const Container& c, const std::string& path) {
  std::error_code error;
  const auto token = path.find("$LIB");
  if (token == std::string::npos) return fs::exists(inside(c, path), error);
  for (const char* lib : {"lib/x86_64-linux-gnu", "lib64", "lib"})
    if (fs::exists(inside(c, std::string(path).replace(token, 4, lib)), error)) return true;
  return false;
}

void check_preload(const Container& c, Findings& findings) {
  const auto word = preloaded(c);
  constexpr const char* again = "make it again with --device lull.dev/gpu=training, or $(lull docker-args training)";
  if (word.empty())
    return findings.push_back({"preload", Health::fail, "its programs are not told to load liblull.so", again});
  if (!is_there(c, word))
    return findings.push_back({"preload", Health::fail, fmt::format("{} is not there in the container", word), again});
  findings.push_back({"preload", Health::ok, word, ""});
}

// As the library chooses: the mounted directory's word, else LULL_CLASS.
void check_class(const Container& c, Findings& findings) {
  std::error_code error;
  std::string runtime = variable(c, "LULL_RUNTIME_DIR"), klass = variable(c, "LULL_CLASS");
  if (runtime.empty()) runtime = "/run/lull";
  auto mounted = contents(inside(c, fs::path(runtime) / "class"));
  mounted.erase(std::min(mounted.find('\n'), mounted.size()));
  const auto directory = mounted.empty() ? fs::path(runtime) / klass / "socket" : fs::path(runtime);
  if (mounted.empty() && klass.empty())
    return findings.push_back({"class", Health::fail,
                               fmt::format("no class: {} is not mounted and LULL_CLASS is not set", runtime),
                               "make it again with --device lull.dev/gpu=training"});
  const auto socket = inside(c, directory / "broker");
  if (!fs::is_socket(socket, error))
    return findings.push_back(
        {"class", Health::fail,
         fmt::format("{}, but there is no lulld at {}", mounted.empty() ? klass : mounted,
                     (directory / "broker").string()),
         "start lulld; a directory that was made anew after the container began is not seen in it: "
         "restart the container"});
  findings.push_back({"class", Health::ok,
                      fmt::format("{}, by {}", mounted.empty() ? klass : mounted,
                                  mounted.empty() ? "LULL_CLASS" : "the mounted directory"),
                      ""});
}

fs::path space_of(const fs::path& proc) {
  std::error_code error;
  return fs::read_symlink(proc / "ns/pid", error);
}

bool descends_from(long pid, long ancestor) {
  for (int steps = 0; pid > 1 && steps < 64; ++steps) {
    if (pid == ancestor) return true;
    const auto stat = contents(fmt::format("/proc/{}/stat", pid));
    const auto after = stat.rfind(')');
    if (after == std::string::npos || std::sscanf(stat.c_str() + after + 1, " %*c %ld", &pid) != 1) return false;
  }
  return false;
}

// Its processes: what shares its name space of processes; where it has none of its own, what it has started.
std::vector<long> processes_of(const Container& c) {
  const auto space = space_of(c.proc);
  const bool own = space != space_of("/proc/self");
  std::vector<long> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const long pid = std::atol(entry.path().filename().c_str());
    if (pid > 0 && (own ? space_of(entry.path()) == space : descends_from(pid, c.pid))) found.push_back(pid);
  }
  return found;
}

void check_programs(const Patient& patient, const Container& c, Findings& findings) {
  const auto is_client = [&](long pid) {
    for (const auto& gpu : part(patient.status, "gpus"))
      for (const auto& client : part(gpu, "clients"))
        if (number(client, "pid") == static_cast<std::uint64_t>(pid)) return true;
    return false;
  };
  std::size_t with = 0;
  for (const long pid : processes_of(c)) {
    const auto maps = contents(fmt::format("/proc/{}/maps", pid));
    if (maps.find(driver_name) == std::string::npos) continue;
    auto name = contents(fmt::format("/proc/{}/comm", pid));
    name = fmt::format("{} (pid {})", name.substr(0, name.find('\n')), pid);
    if (maps.find(library_name) == std::string::npos) {
      findings.push_back({"program", Health::fail, name + " has NVIDIA's driver, and not liblull.so",
                          "it started with an environment of its own, or is linked statically; LULL_LOG says more"});
      continue;
    }
    ++with;
    const bool known = is_client(pid);
    findings.push_back({"program", known ? Health::ok : Health::warn,
                        name + (known ? " is known to lulld" : " has the library and is not known to lulld"),
                        known ? "" : "it has not used the card yet, or LULL_LOG=1 in its environment says why not"});
  }
  if (with == 0 && findings.back().name != "program")
    findings.push_back({"program", Health::ok, "none has opened NVIDIA's driver yet", ""});
}

}  // namespace

void check_container(const Patient& patient, const std::string& name, Findings& findings) {
  const long pid = first_process(name);
  if (pid == 0)
    return findings.push_back({"container", Health::fail,
                               fmt::format("neither docker nor podman knows a running container \"{}\"", name),
                               "docker ps; podman's rootless containers are seen by their user alone"});
  const auto proc = fs::path(fmt::format("/proc/{}", pid));
  const Container c{pid, proc / "root", proc};
  std::error_code error;
  if (!fs::exists(c.root / "etc", error) && (error || ::access((proc / "environ").c_str(), R_OK) != 0))
    return findings.push_back({"container", Health::fail, fmt::format("pid {} of {} is not open to you", pid, name),
                               fmt::format("sudo lull doctor --container {}", name)});
  findings.push_back({"container", Health::ok, fmt::format("{}, pid {} here", name, pid), ""});
  check_libc(c, findings);
  check_preload(c, findings);
  check_class(c, findings);
  check_programs(patient, c, findings);
}

}  // namespace lull::cli

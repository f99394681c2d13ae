// broker/cli/doctor_driver.cpp: NVIDIA's driver, what programs bring to it, and modes of it that Lull leaves alone.
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "broker/cli/child.h"
#include "broker/cli/doctor.h"
#include "broker/nvml.h"

namespace lull::cli {
namespace {

namespace fs = std::filesystem;

// A driver that waits for broken hardware may never answer.
constexpr std::chrono::seconds driver_limit{10};

// The version of CUDA that the driver speaks, 13000 for 13.0; 0: it does not say.
int cuda_version(void* driver) {
  const auto ask = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDriverGetVersion"));
  int version = 0;
  return ask && ask(&version) == 0 ? version : 0;
}

std::string show_cuda(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

json ask_driver() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return nullptr;
  std::string why_not;
  const auto nvml = Nvml::open(&why_not);
  return {{"cuda", cuda_version(driver)}, {"version", nvml ? nvml->driver_version() : ""}, {"why_not", why_not}};
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line, '\0');
  return line.substr(0, line.find('\n'));
}

bool is_number(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The pids of programs of one of these names, as far as /proc shows them.
std::set<std::string> running(const std::set<std::string>& names) {
  std::set<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error))
    if (const auto pid = entry.path().filename().string(); is_number(pid))
      if (const auto name = first_line(entry.path() / "comm"); names.count(name)) found.insert(name);
  return found;
}

// The major version of the CUDA runtime library that a process has mapped; 0: none, or it is not ours to look at.
int runtime_of(std::uint64_t pid) {
  constexpr std::string_view name = "/libcudart.so.";
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);) {
    const auto at = line.rfind(name);
    if (at == std::string::npos) continue;
    int major = 0;
    const char* from = line.data() + at + name.size();
    if (std::from_chars(from, line.data() + line.size(), major).ec == std::errc{}) return major;
  }
  return 0;
}

// What nvcc and its libraries on the host are of; 0: there are none.
int toolkit_on_host() {
  std::error_code error;
  int newest = 0;
  for (const auto& entry : fs::directory_iterator("/usr/local", error)) {
    const auto file = entry.path() / "version.json";
    if (!entry.path().filename().string().starts_with("cuda") || !fs::exists(file, error)) continue;
    std::ifstream stream(file);
    const auto about = json::parse(stream, nullptr, false);
    const auto version = about.is_object() ? text(part(about, "cuda"), "version") : "";
    int major = 0, minor = 0;
    if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2)
      newest = std::max(newest, major * 1000 + minor * 10);
  }
  return newest;
}

}  // namespace

void check_driver(const Patient&, Findings& findings) {
  const auto answer = in_child(
      [] {
        fmt::print("{}", ask_driver().dump());
        return 0;
      },
      driver_limit);
  if (!answer.good())
    return findings.push_back({"driver", Health::fail,
                               answer.end == ChildOutput::End::too_late
                                   ? fmt::format("NVIDIA's driver has not answered within {} s", driver_limit.count())
                                   : "NVIDIA's driver ends the process that asks it for its version",
                               "dmesg tells more (NVRM, Xid); until nvidia-smi answers, no program can use the card"});
  const auto about = json::parse(answer.text, nullptr, false);
  if (!about.is_object())
    return findings.push_back({"driver", Health::fail, "libcuda.so.1 cannot be opened",
                               "install the NVIDIA driver (nvidia-smi must work); in a container, ask for the GPU"});
  const int cuda = static_cast<int>(number(about, "cuda"));
  const auto version = text(about, "version");
  auto told = fmt::format("libcuda.so.1 speaks CUDA {}", show_cuda(cuda));
  told += version.empty() ? "; its version is not told: " + text(about, "why_not") : "; driver " + version;
  const bool well = cuda > 0 && !version.empty();
  findings.push_back({"driver",
                      well ? Health::ok : Health::warn,
                      told,
                      well ? "" : "without NVML, lulld needs [[gpu]] entries and does not see other programs' memory",
                      {{"cuda", cuda}, {"version", version}}});
}

// A runtime of a newer major version than the driver's fails with "driver version is insufficient", with Lull or
// without; it is often taken for Lull's fault.
void check_toolkit(const Patient& patient, Findings& findings) {
  const auto driver =
      std::find_if(findings.begin(), findings.end(), [](const Finding& f) { return f.name == "driver"; });
  const int cuda = driver == findings.end() ? 0 : static_cast<int>(number(driver->figures, "cuda"));
  if (cuda == 0) return;
  const int host = toolkit_on_host();
  std::string newer;
  std::size_t seen = 0;
  for (const auto& gpu : part(patient.status, "gpus"))
    for (const auto& client : part(gpu, "clients")) {
      const int major = runtime_of(number(client, "pid"));
      seen += major > 0;
      if (major > cuda / 1000)
        newer += fmt::format("{}{} (pid {}) brings CUDA {}", newer.empty() ? "" : "; ", text(client, "tenant"),
                             number(client, "pid"), major);
    }
  const json figures = {{"toolkit", host}, {"clients", seen}};
  constexpr const char* to_do = "a newer driver, programs built for an older CUDA, or NVIDIA's cuda-compat package";
  if (!newer.empty())
    return findings.push_back(
        {"toolkit", Health::warn, fmt::format("{}; the driver speaks {}", newer, show_cuda(cuda)), to_do, figures});
  if (host / 1000 > cuda / 1000)
    return findings.push_back(
        {"toolkit", Health::warn,
         fmt::format("the toolkit on this machine is CUDA {}, the driver speaks {}", show_cuda(host), show_cuda(cuda)),
         to_do, figures});
  findings.push_back(
      {"toolkit", Health::ok,
       host == 0 ? "none on the host: programs bring their own" : fmt::format("CUDA {} on the host", show_cuda(host)),
       "", figures});
}

// As the library itself tells them apart (shim/environment.cpp).
void check_modes(const Patient&, Findings& findings) {
  std::error_code error;
  if (fs::exists("/dev/dxg", error))
    findings.push_back({"WSL", Health::fail, "this is WSL2: programs run as if Lull were not there",
                        "use it on a Linux that has the card to itself"});
  const auto mps = running({"nvidia-cuda-mps-control", "nvidia-cuda-mps-server"});
  const bool asked = std::getenv("CUDA_MPS_PIPE_DIRECTORY") != nullptr;
  if (!mps.empty() || asked)
    findings.push_back({"MPS", Health::warn,
                        asked ? "CUDA_MPS_PIPE_DIRECTORY is set: programs of this shell run as if Lull were not there"
                              : "the multi-process service runs, and Lull is not made for its clients",
                        "unset CUDA_MPS_PIPE_DIRECTORY; echo quit | nvidia-cuda-mps-control"});
}

}  // namespace lull::cli

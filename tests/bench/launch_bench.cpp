// tests/bench/launch_bench.cpp: what the open gate adds to a launch, a copy and the record of an event.
//
// The program is launch_probe, unaware of Lull; the shim is preloaded; the driver is one whose functions do nothing, so
// that nothing hides the difference; the broker is this process, which has opened the gate. A call through the shim is
// compared with one that goes to the driver's function, in the same process, in alternating blocks. --peer preloads
// another library instead of the shim, without a broker, and measures the same launch.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "tests/bench/open_gate.h"
#include "tests/bench/report.h"

namespace {

using namespace lull;
using namespace lull::bench;

// One run of the probe. With a peer, that is what is preloaded, and there is no broker.
struct Run {
  std::string mode, call, peer = {};
  std::uint32_t drain_limit_us = 0;
};

struct Paths {
  std::string probe, shim, peer;
};

// The search path goes before what the probe was linked with, and may lead to another driver.
void find_null_driver_first() {
  const char* path = std::getenv("LD_LIBRARY_PATH");
  (void)::setenv("LD_LIBRARY_PATH", (std::string(LULL_NULL_DRIVER_DIR) + (path ? ":" + std::string(path) : "")).c_str(),
                 1);
}

[[noreturn]] void become_probe(const Paths& paths, const Run& run, const std::string& runtime_dir, int line) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)::dup2(line, STDIN_FILENO);
  (void)::dup2(line, STDOUT_FILENO);
  for (const char* name : {"LULL", "LULL_CLASS", "LULL_IPC", "LULL_TENANT", "CUDA_LAUNCH_BLOCKING"})
    (void)::unsetenv(name);
  find_null_driver_first();
  (void)::setenv("LD_PRELOAD", (run.peer.empty() ? paths.shim : run.peer).c_str(), 1);
  (void)::setenv("LULL_RUNTIME_DIR", runtime_dir.c_str(), 1);
  if (run.peer.empty()) (void)::setenv("LULL_CLASS", "training", 1);
  (void)::execl(paths.probe.c_str(), paths.probe.c_str(), run.mode.c_str(), run.call.c_str(),
                run.peer.empty() ? nullptr : run.peer.c_str(), nullptr);
  ::_exit(127);
}

// A running probe, its gate open if it has one, about to measure.
class Probe {
 public:
  Probe(const Paths& paths, const Run& run) : managed_(run.peer.empty()), drain_limit_us_(run.drain_limit_us) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::runtime_error("cannot make a socketpair");
    line_ = Fd(ends[0]);
    const Fd theirs(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) become_probe(paths, run, gate_.runtime_dir(), theirs.get());
    if (pid_ < 0) throw std::runtime_error("cannot fork");
  }
  ~Probe() {
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  void start() {
    if (managed_) gate_.welcome(drain_limit_us_);
    if (managed_ && !gate_.seen()) throw std::runtime_error("the shim has not acted on the open gate within 10 s");
    (void)::send(line_.get(), "\n", 1, MSG_NOSIGNAL);  // the probe's silence would show it
  }
  int pid() const { return pid_; }
  int line() const { return line_.get(); }

 private:
  bool managed_;
  std::uint32_t drain_limit_us_;
  OpenGate gate_;
  Fd line_;
  int pid_ = -1;
};

struct Cost {
  double through_library, direct;
};

Cost nanoseconds(const Paths& paths, const Run& run) {
  Probe probe(paths, run);
  probe.start();
  FILE* lines = ::fdopen(::dup(probe.line()), "r");
  if (!lines) throw std::runtime_error("cannot read from the probe");
  std::vector<double> through_library, direct;
  Cost one{};
  while (std::fscanf(lines, "%lf %lf", &one.through_library, &one.direct) == 2) {
    through_library.push_back(one.through_library);
    direct.push_back(one.direct);
  }
  (void)std::fclose(lines);
  if (through_library.empty()) throw std::runtime_error("the probe ended without a measurement");
  return {percentile(through_library, 0.5), percentile(direct, 0.5)};
}

siginfo_t await_stop(int pid) {
  int status = 0;
  siginfo_t why{};
  if (::waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) throw std::runtime_error("the probe ended early");
  if (::ptrace(PTRACE_GETSIGINFO, pid, nullptr, &why) != 0) throw std::runtime_error("cannot read the probe's signal");
  return why;
}

// Steps of the main thread from the signal it has stopped at to the next one it raises. The way through raise() is
// counted too, alike for both ways.
int steps_to_next_signal(int pid) {
  for (int steps = 0;; ++steps) {
    if (::ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) != 0)
      throw std::runtime_error("cannot single-step the probe");
    if (await_stop(pid).si_code == SI_TKILL) return steps;
  }
}

// The probe raises a signal before and after each call: the steps from one call to the next do not count.
Cost instructions(const Paths& paths, const Run& run) {
  Probe probe(paths, run);
  probe.start();
  if (await_stop(probe.pid()).si_code != SI_TKILL)
    throw std::runtime_error("the probe stopped before its first signal");
  std::vector<double> through_library, direct;
  for (int i = 0; i < 5; ++i) {  // as often as the probe does
    if (i > 0) (void)steps_to_next_signal(probe.pid());
    through_library.push_back(steps_to_next_signal(probe.pid()));
    (void)steps_to_next_signal(probe.pid());
    direct.push_back(steps_to_next_signal(probe.pid()));
  }
  return {percentile(through_library, 0.5), percentile(direct, 0.5)};
}

double added(const Cost& cost) { return cost.through_library - cost.direct; }

// First, since a library that cannot be measured should say so at once.
std::vector<Metric> of_peer(const Paths& paths) {
  if (paths.peer.empty()) return {};
  return {{"launch.peer_added_ns", added(nanoseconds(paths, {"time", "launch", paths.peer, 0})), "ns", {}},
          {"launch.peer_added_instructions", added(instructions(paths, {"step", "launch", paths.peer, 0})), "", {}}};
}

Report measure(const Paths& paths) {
  const std::vector<Metric> peer = of_peer(paths);
  const Cost launch = nanoseconds(paths, {"time", "launch"});
  const Cost bounded = nanoseconds(paths, {"time", "launch", {}, 2'000});
  Report report{.suite = "launch", .gpu = "none (null driver)", .metrics = {}};
  report.metrics = {
      {"launch.added_ns", added(launch), "ns", 5},
      {"launch.direct_ns", launch.direct, "ns", {}},
      {"launch.added_instructions", added(instructions(paths, {"step", "launch"})), "", 30},
      {"launch.marker_amortised_ns", added(bounded) - added(launch), "ns", {}},
      {"launch.copy_added_ns", added(nanoseconds(paths, {"time", "copy"})), "ns", 8},
      {"launch.event_added_ns", added(nanoseconds(paths, {"time", "record"})), "ns", 8},
  };
  report.metrics.insert(report.metrics.end(), peer.begin(), peer.end());
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Measures what the open gate adds to a launch, a copy and the record of an event, and what a bound of the work "
      "in "
      "flight (2 ms) adds to each launch: the shim's part of its looks and markers, since this driver does nothing.");
  std::string json_path;
  Paths paths{LULL_PROBE, LULL_SHIM, {}};
  app.add_option("--json", json_path, "write one JSON object to this file, - for standard output");
  app.add_option("--shim", paths.shim, "the library to preload")->check(CLI::ExistingFile);
  app.add_option("--peer", paths.peer, "measure launches with this library preloaded too, for comparison")
      ->check(CLI::ExistingFile)
      ->transform([](const std::string& path) { return std::filesystem::absolute(path).string(); });
  CLI11_PARSE(app, argc, argv);
  try {
    return print(measure(paths), json_path) ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "launch: {}\n", error.what());
    return 1;
  }
}

// tests/bench/launch_bench.cpp: what the open gate adds to a launch.
//
// The program is launch_probe, unaware of Lull; the shim is preloaded; the driver is one whose functions do nothing, so
// that nothing hides the difference; the broker is this process, which has opened the gate. A launch through the shim
// is compared with one that goes to the driver's function, in the same process, in alternating blocks.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "tests/bench/open_gate.h"
#include "tests/bench/report.h"

namespace {

using namespace lull;
using namespace lull::bench;

struct Paths {
  std::string probe, shim;
};

[[noreturn]] void become_probe(const Paths& paths, const OpenGate& gate, const char* mode, int line) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)::dup2(line, STDIN_FILENO);
  (void)::dup2(line, STDOUT_FILENO);
  (void)::setenv("LD_PRELOAD", paths.shim.c_str(), 1);
  (void)::setenv("LULL_CLASS", "training", 1);
  (void)::setenv("LULL_RUNTIME_DIR", gate.runtime_dir().c_str(), 1);
  for (const char* name : {"LULL", "LULL_IPC", "LULL_TENANT", "CUDA_LAUNCH_BLOCKING"}) (void)::unsetenv(name);
  (void)::execl(paths.probe.c_str(), paths.probe.c_str(), mode, nullptr);
  ::_exit(127);
}

// A running probe, managed, its gate open, about to measure.
class Probe {
 public:
  Probe(const Paths& paths, const char* mode) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::runtime_error("cannot make a socketpair");
    line_ = Fd(ends[0]);
    const Fd theirs(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) become_probe(paths, gate_, mode, theirs.get());
    if (pid_ < 0) throw std::runtime_error("cannot fork");
  }
  ~Probe() {
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  void open_gate_and_start() {
    gate_.welcome();
    if (!gate_.seen()) throw std::runtime_error("the shim has not acted on the open gate within 10 s");
    (void)!::write(line_.get(), "\n", 1);  // the probe's silence would show it
  }
  int pid() const { return pid_; }
  int line() const { return line_.get(); }

 private:
  OpenGate gate_;
  Fd line_;
  int pid_ = -1;
};

struct Cost {
  double through_shim, direct;
};

Cost nanoseconds(const Paths& paths) {
  Probe probe(paths, "time");
  probe.open_gate_and_start();
  FILE* lines = ::fdopen(::dup(probe.line()), "r");
  if (!lines) throw std::runtime_error("cannot read from the probe");
  std::vector<double> through_shim, direct;
  Cost one{};
  while (std::fscanf(lines, "%lf %lf", &one.through_shim, &one.direct) == 2) {
    through_shim.push_back(one.through_shim);
    direct.push_back(one.direct);
  }
  (void)std::fclose(lines);
  if (through_shim.empty()) throw std::runtime_error("the probe printed no times");
  return {percentile(through_shim, 0.5), percentile(direct, 0.5)};
}

siginfo_t await_stop(int pid) {
  int status = 0;
  siginfo_t why{};
  if (::waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) throw std::runtime_error("the probe ended early");
  if (::ptrace(PTRACE_GETSIGINFO, pid, nullptr, &why) != 0) throw std::runtime_error("cannot read the probe's signal");
  return why;
}

// Steps of the main thread from the signal it has stopped at to the next one it raises. The way through raise() is
// counted too, alike for both kinds of call.
int steps_to_next_signal(int pid) {
  for (int steps = 0;; ++steps) {
    if (::ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) != 0)
      throw std::runtime_error("cannot single-step the probe");
    if (await_stop(pid).si_code == SI_TKILL) return steps;
  }
}

Cost instructions(const Paths& paths) {
  Probe probe(paths, "step");
  probe.open_gate_and_start();
  if (await_stop(probe.pid()).si_code != SI_TKILL)
    throw std::runtime_error("the probe stopped before its first signal");
  std::vector<double> through_shim, direct;
  for (int i = 0; i < 5; ++i) {  // as often as the probe does
    through_shim.push_back(steps_to_next_signal(probe.pid()));
    direct.push_back(steps_to_next_signal(probe.pid()));
  }
  return {percentile(through_shim, 0.5), percentile(direct, 0.5)};
}

Report measure(const Paths& paths) {
  const Cost ns = nanoseconds(paths);
  const Cost steps = instructions(paths);
  return {.suite = "launch",
          .gpu = "none (null driver)",
          .metrics = {{"launch.added_ns", ns.through_shim - ns.direct, "ns", 5},
                      {"launch.direct_ns", ns.direct, "ns", {}},
                      {"launch.added_instructions", steps.through_shim - steps.direct, "", 40}}};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures what the open gate adds to a launch.");
  std::string json_path;
  Paths paths{LULL_PROBE, LULL_SHIM};
  app.add_option("--json", json_path, "write one JSON object to this file, - for standard output");
  app.add_option("--shim", paths.shim, "the library to preload")->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);
  try {
    return print(measure(paths), json_path) ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "launch: {}\n", error.what());
    return 1;
  }
}

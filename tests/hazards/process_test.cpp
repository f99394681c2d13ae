// Hazards 3, 14 and 20: other languages' locks, children, and ends of every kind.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/hazards/support.h"

extern char** environ;

namespace lull::hazards {
namespace {

int status_of(pid_t child) {
  int status = -1;
  demand(comes_true([&] { return ::waitpid(child, &status, WNOHANG) == child; }), "a child ends by itself");
  return status;
}

std::size_t threads_here() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

// In a forked child: CUDA does not work there, and says so at once.
[[noreturn]] void be_a_child(CUdeviceptr memory) {
  ::alarm(5);  // a child that waits at the gate would wait for ever
  CUdeviceptr at = 0;
  const bool alone = threads_here() == 1;
  const bool refused = cuMemsetD8_v2(memory, 1, 16) != CUDA_SUCCESS && cuMemAlloc_v2(&at, mib) != CUDA_SUCCESS &&
                       cuMemFree_v2(memory) != CUDA_SUCCESS;
  ::_exit(alone && refused ? 0 : 1);
}

// DataLoader's workers know nothing of CUDA.
[[noreturn]] void be_a_loader() { ::_exit(threads_here() == 1 ? 0 : 1); }

// Status of a program that ends by itself after `release`, with the gate closed.
int end_of(const char* name) {
  OtherBroker broker;
  Program program(role(name), Preload::yes);
  demand(program.line() == "ready", "the program is managed and ready");
  demand(comes_true([&] { return broker->attached(); }), "the program is managed and ready");
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "the program is paused");
  program.release();
  return program.wait(10);
}

}  // namespace

TEST_CASE("hazard 3: Python's threads go on while one of them waits at the gate in a call that keeps the lock") {
  OtherBroker broker;
  Program python({"python3", "-I", std::string(LULL_HAZARDS_SOURCE) + "/heartbeat.py"}, Preload::yes);
  demand(python.byte() == 'r', "the program is ready");
  demand(comes_true([&] { return broker->attached(); }), "the program is managed");
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "the program is paused");
  const std::uint64_t wants = broker->up().wants.load();
  python.release();
  demand(comes_true([&] { return broker->up().wants.load() > wants; }), "a call waits at the gate");
  while (python.readable(0)) (void)python.byte();  // beats of before
  for (unsigned beat = 0; beat < 50; ++beat) {
    demand(python.readable(3000), "the interpreter's heart beats while a call waits");
    (void)python.byte();
  }
  broker->gate(GateState::open);
  demand(python.wait(20) == 0, "the call comes back with success");
}

TEST_CASE("hazard 13: LULL_IPC=native makes a process's allocations the driver's own, and legacy IPC work") {
  demand(::setenv("LULL_IPC", "native", 1) == 0, "the environment can be set");
  OtherBroker broker;
  Program program(role("share-by-ipc"), Preload::yes);
  demand(program.line() == "shared", "cuIpcGetMemHandle succeeds");
  demand(comes_true([&] { return broker->attached(); }), "the program is managed all the same");
  demand(broker->up().needed.load() == 0, "nothing of it is counted as what can move");
  program.release();
  demand(program.wait(10) == 0, "the program ends well");
  (void)::unsetenv("LULL_IPC");
}

TEST_CASE("hazard 14: forked and spawned children do not wait, and no broker hears of them") {
  CUdeviceptr memory = 0;
  demand(context() != nullptr, "the program has a context");
  OK(cuMemAlloc_v2(&memory, mib));
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "the program is paused");
  const std::uint64_t wants = broker().up().wants.load();
  const pid_t forked = ::fork();
  if (forked == 0) be_a_child(memory);
  demand(status_of(forked) == 0, "a forked child does not wait at the gate");
  for (unsigned i = 0; i < 4; ++i) {
    const pid_t loader = ::fork();
    if (loader == 0) be_a_loader();
    demand(status_of(loader) == 0, "a worker without CUDA has one thread");
  }
  pid_t spawned = 0;
  char name[] = "/bin/true";
  char* const arguments[] = {name, nullptr};
  demand(::posix_spawn(&spawned, name, nullptr, nullptr, arguments, environ) == 0, "a program can be spawned");
  demand(status_of(spawned) == 0, "a spawned program ends well");
  const pid_t vforked = ::vfork();
  if (vforked == 0) {
    (void)::execv(name, arguments);
    ::_exit(127);
  }
  demand(status_of(vforked) == 0, "a program started by vfork ends well");
  demand(broker().up().wants.load() == wants, "the broker hears of no child");
  broker().gate(GateState::open);
  OK(cuMemFree_v2(memory));
}

TEST_CASE("hazard 20: exit is not held up by a thread at the gate, and its code stays") {
  const int status = end_of("exit-while-waiting");
  demand(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the exit code is the program's");
}

TEST_CASE("hazard 20: frees after the driver has ended succeed") {
  const int status = end_of("free-at-exit");
  demand(WIFEXITED(status) && WEXITSTATUS(status) == 8, "the exit code is the program's");
}

TEST_CASE("hazard 20: exit in the middle of an eviction waits a second for it, not longer") {
  OtherBroker broker;
  Program program(role("exit-while-leaving"), Preload::yes);
  demand(program.line() == "ready", "the program is managed and ready");
  broker->give_backing(64 * mib);
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "the program is paused");
  broker->quota(0);
  demand(broker->reaches(Phase::moving), "an eviction has begun");
  program.release();
  const int status = program.wait(5);
  demand(WIFEXITED(status) && WEXITSTATUS(status) == 9, "the exit code is the program's");
}

}  // namespace lull::hazards

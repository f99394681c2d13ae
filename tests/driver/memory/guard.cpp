#include "tests/driver/memory/guard.h"

#include <signal.h>

#include <mutex>

#include "tests/driver/memory/report.h"

namespace lull::sim {
namespace {

__attribute__((tls_model("initial-exec"))) thread_local constinit GuardFrame* current = nullptr;
__attribute__((tls_model("initial-exec"))) thread_local constinit bool passing_on = false;
struct sigaction before_segv, before_bus;

// As if we had never been here: the instruction faults again and the default ends the process.
void stand_aside(int signal) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(signal, &standard, nullptr);
}

void pass_on(const struct sigaction& before, int signal, siginfo_t* info, void* where) {
  // A program that put its handler over ours calls ours from it, and ours calls it: once round is enough.
  if (passing_on) return stand_aside(signal);
  passing_on = true;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, where);
  } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    stand_aside(signal);
  } else {
    before.sa_handler(signal);
  }
  passing_on = false;
}

void on_fault(int signal, siginfo_t* info, void* where) {
  if (GuardFrame* frame = current) {
    frame->address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    siglongjmp(frame->back, 1);
  }
  pass_on(signal == SIGBUS ? before_bus : before_segv, signal, info, where);
}

void install(int signal, struct sigaction& before) {
  struct sigaction now {};
  ::sigaction(signal, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault) return;
  before = now;
  struct sigaction ours {};
  ours.sa_sigaction = on_fault;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;  // jumping out must not leave the signal blocked
  ::sigaction(signal, &ours, nullptr);
}

}  // namespace

GuardFrame*& guard_frame() { return current; }

void fault_found(std::uintptr_t address) { report_touch(address, 0); }

void install_guard() {
  static std::mutex& mutex = *new std::mutex;
  const std::scoped_lock lock(mutex);
  install(SIGSEGV, before_segv);
  install(SIGBUS, before_bus);
}

}  // namespace lull::sim

#include "tests/driver/guard.h"

#include <signal.h>

#include <mutex>

namespace lull::sim {
namespace {

__attribute__((tls_model("initial-exec"))) thread_local constinit GuardFrame* current = nullptr;
struct sigaction before_segv, before_bus;

void pass_on(const struct sigaction& before, int signal, siginfo_t* info, void* where) {
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, where);
  } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    // As if we had never been here: the instruction faults again and the default ends the process.
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    ::sigaction(signal, &standard, nullptr);
  } else {
    before.sa_handler(signal);
  }
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

void install_guard() {
  static std::mutex& mutex = *new std::mutex;
  const std::scoped_lock lock(mutex);
  install(SIGSEGV, before_segv);
  install(SIGBUS, before_bus);
}

}  // namespace lull::sim

// shim/signals.h: a moment in which no handler of the host can run, and so none can leave by longjmp, an exception or
// pthread_exit while a lock is held that other threads need, or something is half done.
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "shim/protection.h"

namespace lull {

class SignalsBlocked {
 public:
  SignalsBlocked() { block(); }
  ~SignalsBlocked() { let_in(); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  void let_in() {
    if (on(Protection::quiet_locks)) exchange(before_, nullptr);
  }
  void block() {
    if (on(Protection::quiet_locks)) exchange(all_but(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), &before_);
  }

 private:
  // Faults stay open: the kernel ends a program for one that is blocked, and some (garbage collectors) handle theirs.
  template <class... Signals>
  static constexpr std::uint64_t all_but(Signals... faults) {
    return ~(0 | ... | (std::uint64_t{1} << (faults - 1)));
  }

  // By the system call: glibc's functions leave open the signal by which threads are cancelled. It cannot fail.
  static void exchange(const std::uint64_t& mask, std::uint64_t* before) {
    (void)::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, before, sizeof mask);
  }
  std::uint64_t before_ = 0;
};

}  // namespace lull

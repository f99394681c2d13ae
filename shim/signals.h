// shim/signals.h: a moment in which no handler of the host can run, and so none can leave by longjmp, an exception or
// pthread_exit while a lock is held that other threads need.
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace lull {

// By the system call: glibc's functions leave open the signal by which threads are cancelled.
class SignalsBlocked {
 public:
  SignalsBlocked() { exchange(~std::uint64_t{0}); }
  ~SignalsBlocked() { exchange(before_); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  static constexpr int set_mask = 2;  // SIG_SETMASK
  void exchange(std::uint64_t mask) {
    (void)::syscall(SYS_rt_sigprocmask, set_mask, &mask, &before_, sizeof mask);  // cannot fail
  }
  std::uint64_t before_ = 0;
};

}  // namespace lull

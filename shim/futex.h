// shim/futex.h: waiting on a word, always with a bound.
#pragma once
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace lull::futex {

enum class Scope { process, shared };
enum class Woken { changed, timeout, signal };

// Waits until `word` is no longer `value`, somebody wakes it, or `limit_ns` have passed. Spurious returns are allowed:
// the caller reads everything again. The mapping may be read-only.
inline Woken wait(const std::atomic<std::uint32_t>& word, std::uint32_t value, std::uint64_t limit_ns, Scope scope) {
  const timespec limit{static_cast<time_t>(limit_ns / 1'000'000'000), static_cast<long>(limit_ns % 1'000'000'000)};
  const int operation = FUTEX_WAIT | (scope == Scope::process ? FUTEX_PRIVATE_FLAG : 0);
  const int saved = errno;
  const long result = ::syscall(SYS_futex, &word, operation, value, &limit, nullptr, 0);
  const int error = errno;
  errno = saved;  // the host's code may look at it after any driver call
  if (result == 0 || error == EAGAIN) return Woken::changed;
  return error == EINTR ? Woken::signal : Woken::timeout;
}

inline void wake(const std::atomic<std::uint32_t>& word, int waiters, Scope scope) {
  const int operation = FUTEX_WAKE | (scope == Scope::process ? FUTEX_PRIVATE_FLAG : 0);
  const int saved = errno;
  (void)::syscall(SYS_futex, &word, operation, waiters, nullptr, nullptr, 0);
  errno = saved;
}
inline void wake_all(const std::atomic<std::uint32_t>& word, Scope scope) { wake(word, 0x7fffffff, scope); }
inline void wake_one(const std::atomic<std::uint32_t>& word, Scope scope) { wake(word, 1, scope); }

}  // namespace lull::futex

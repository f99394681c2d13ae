// shim/lock.h: a mutex and its guard.
//
// A handler of the program's may leave a driver call by longjmp, an exception or pthread_exit. Would a lock stay held
// then, the next thread would wait for it for ever. So whoever holds one has signals blocked, and whoever waits for one
// has not: a program that is held up in the driver can still be told to stop. A forked child never takes one: every
// handler asks gate::active_now() first.
#pragma once
#include <atomic>
#include <cstdint>

#include "shim/futex.h"
#include "shim/protection.h"
#include "shim/signals.h"

namespace lull {

class Mutex {
 public:
  constexpr Mutex() = default;
  bool try_lock() { return take(held); }
  // How often it has been taken to change what it protects. Never 0 after the first time.
  std::uint64_t turns() const { return turns_.load(std::memory_order_acquire); }
  void unlock() {
    if (state_.exchange(free, std::memory_order_release) == waited_for) futex::wake_one(state_, futex::Scope::process);
  }

  // For who could not take it. Until it may be free, or so long.
  void await(std::uint64_t limit_ns) {
    std::uint32_t expected = held;
    (void)state_.compare_exchange_strong(expected, waited_for, std::memory_order_relaxed);
    if (expected != free) (void)futex::wait(state_, waited_for, limit_ns, futex::Scope::process);
  }
  bool try_lock_after_wait() { return take(waited_for); }  // others may wait, too

 private:
  friend class Locked;
  enum State : std::uint32_t { free = 0, held, waited_for };  // zeroed memory is a free mutex

  bool take(State as) {
    std::uint32_t expected = free;
    return state_.compare_exchange_strong(expected, as, std::memory_order_acquire, std::memory_order_relaxed);
  }

  std::atomic<std::uint32_t> state_{free};
  std::atomic<std::uint64_t> turns_{1};
};

class Locked {
 public:
  enum Purpose { to_change, to_look };

  explicit Locked(Mutex& mutex, Purpose purpose = to_change) : mutex_(mutex) {
    if (!mutex.try_lock()) {
      do {
        signals_.let_in();
        mutex.await(longest_wait_ns);
        signals_.block();
      } while (!mutex.try_lock_after_wait());
    }
    if (purpose == to_change) mutex.turns_.fetch_add(1, std::memory_order_release);
  }
  ~Locked() { mutex_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  // Who is woken and leaves by a signal's handler has taken the wake from the next: hence a limit.
  static constexpr std::uint64_t longest_wait_ns = 100'000'000;
  SignalsBlocked signals_;
  Mutex& mutex_;
};

}  // namespace lull

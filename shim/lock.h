// shim/lock.h: a mutex and its guard. A forked child never takes one: every handler asks gate::active() first.
#pragma once
#include <pthread.h>

namespace lull {

class Mutex {
 public:
  constexpr Mutex() = default;
  void lock() { (void)pthread_mutex_lock(&mutex_); }  // cannot fail for a normal mutex
  bool try_lock() { return pthread_mutex_trylock(&mutex_) == 0; }
  void unlock() { (void)pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class Locked {
 public:
  explicit Locked(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
  ~Locked() { mutex_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace lull

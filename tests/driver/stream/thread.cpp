#include "tests/driver/stream/thread.h"

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

namespace lull::sim {
namespace {

constexpr unsigned most_helpers = 64;

// Never destroyed: its threads outlive everything.
struct Helpers {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<std::function<void()>> waiting;
  unsigned threads = 0, idle = 0;

  void serve() {
    std::unique_lock lock(mutex);
    while (true) {
      ++idle;
      arrived.wait(lock, [&] { return !waiting.empty(); });
      --idle;
      auto body = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      body();
      body = nullptr;
      lock.lock();
    }
  }
};

Helpers& helpers() {
  static auto& one = *new Helpers;
  return one;
}

}  // namespace

bool start_thread(const char* name, std::function<void()> body) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigdelset(&all, SIGSEGV);
  ::sigdelset(&all, SIGBUS);
  ::sigdelset(&all, SIGFPE);
  ::sigdelset(&all, SIGILL);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // the thread inherits it: no handler of the program runs there
  auto own = std::make_unique<std::function<void()>>(std::move(body));
  pthread_t thread{};
  const auto run = [](void* argument) -> void* {
    const std::unique_ptr<std::function<void()>> mine(static_cast<std::function<void()>*>(argument));
    (*mine)();
    return nullptr;
  };
  const int error = ::pthread_create(&thread, nullptr, run, own.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return false;
  (void)own.release();  // the thread's
  ::pthread_setname_np(thread, name);
  ::pthread_detach(thread);
  return true;
}

void run_elsewhere(std::function<void()> body) {
  Helpers& all = helpers();
  const std::scoped_lock lock(all.mutex);
  all.waiting.push_back(std::move(body));
  if (all.idle < all.waiting.size() && all.threads < most_helpers &&
      start_thread("sim-helper", [&all] { all.serve(); }))
    ++all.threads;
  all.arrived.notify_one();
}

}  // namespace lull::sim

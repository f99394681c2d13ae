#include "broker/chores.h"

#include <pthread.h>

#include <utility>

namespace lull {

Chores::Chores() {
  thread_ = std::thread([this] { run(); });
  (void)::pthread_setname_np(thread_.native_handle(), "lulld-chores");  // for ps only
}

Chores::~Chores() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
  }
  added_.notify_one();
  thread_.join();
}

void Chores::add(std::function<void()> chore) {
  {
    const std::lock_guard guard(mutex_);
    list_.push_back(std::move(chore));
  }
  added_.notify_one();
}

void Chores::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    added_.wait(lock, [this] { return stop_ || !list_.empty(); });
    if (stop_) return;
    auto chore = std::move(list_.front());
    list_.pop_front();
    lock.unlock();
    chore();
    chore = nullptr;  // what it holds is freed here, too
    lock.lock();
  }
}

}  // namespace lull

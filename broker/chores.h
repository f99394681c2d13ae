// broker/chores.h: a thread of ordinary priority for what takes its time and nobody waits for.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace lull {

class Chores {
 public:
  Chores();
  ~Chores();  // what is not begun is not done, only destroyed
  void add(std::function<void()>);

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::function<void()>> list_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace lull

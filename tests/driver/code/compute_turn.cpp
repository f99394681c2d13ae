#include "tests/driver/code/compute_turn.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>

#include "tests/driver/card/clock.h"
#include "tests/driver/context/context.h"

namespace lull::sim {
namespace {

constexpr unsigned patience = 16;  // who has let so many others pass goes first, whatever its priority
constexpr auto look_again = std::chrono::milliseconds(20);

struct Waiter {
  explicit Waiter(int of_stream) : priority(of_stream) {}
  int priority;
  unsigned passed = 0;  // by kernels that came later
  std::condition_variable first;
};

// The kernels of this process that want one card's engine.
struct Line {
  std::mutex mutex;
  std::list<Waiter> waiting;  // in the order they came
  bool taken = false;
};

Line& line_of(const Device& device) {
  static auto& mutex = *new std::mutex;
  static auto& all = *new std::map<const Device*, Line>;
  const std::scoped_lock lock(mutex);
  return all[&device];
}

std::list<Waiter>::iterator first_of(std::list<Waiter>& waiting) {
  const auto rank = [](const Waiter& w) { return w.passed >= patience ? INT32_MIN : w.priority; };
  return std::ranges::min_element(waiting, std::less<>{}, rank);  // of equals the first that came
}

}  // namespace

ComputeTurn::ComputeTurn(Device& device, int priority, const Life& life, Slice over)
    : device_(device), priority_(priority), life_(life), over_(std::move(over)) {
  take();
  began_ns_ = slice_ns_;
}

void ComputeTurn::take() {
  Line& line = line_of(device_);
  {
    std::unique_lock lock(line.mutex);
    const auto me = line.waiting.emplace(line.waiting.end(), priority_);
    while (!life_.stop && (line.taken || first_of(line.waiting) != me)) me->first.wait_for(lock, look_again);
    for (auto earlier = line.waiting.begin(); earlier != me; ++earlier) ++earlier->passed;
    line.waiting.erase(me);
    alone_ = !line.taken;  // not so if the context stopped meanwhile
    line.taken = true;
  }
  in_turn_ = alone_ && device_.card->begin_compute();
  slice_ns_ = now_ns();
}

void ComputeTurn::give() {
  ended_ns_ = now_ns();
  over_(slice_ns_, ended_ns_);
  if (in_turn_) device_.card->end_compute();
  Line& line = line_of(device_);
  const std::scoped_lock lock(line.mutex);
  if (alone_) line.taken = false;
  alone_ = in_turn_ = false;
  if (!line.waiting.empty()) first_of(line.waiting)->first.notify_one();  // not all: they may be many
}

void ComputeTurn::breathe() {
  const std::uint64_t now = now_ns();
  if (now - slice_ns_ < compute_slice_ns || life_.stop) return;
  Line& line = line_of(device_);
  bool wanted = !in_turn_ || device_.card->compute_is_wanted();
  {
    const std::scoped_lock lock(line.mutex);
    wanted = wanted || !line.waiting.empty();
  }
  if (!wanted) return device_.card->renew_compute();
  give();
  take();
}

std::uint64_t ComputeTurn::end() {
  if (alone_ || in_turn_ || ended_ns_ < slice_ns_) give();
  return ended_ns_;
}

}  // namespace lull::sim

#include "tests/driver/card/link.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lull::sim {
namespace {

constexpr double never = std::numeric_limits<double>::infinity();

// Nanoseconds since the first start of all, so that a double is exact enough.
class Engine {
 public:
  Engine(std::span<Transfer> queue, std::uint64_t base_ns) : queue_(queue), base_ns_(base_ns) { begin(); }

  bool done() const { return at_ == queue_.size(); }
  bool moving() const { return moving_; }

  // When it begins or ends its bytes, if the other engine goes on as it is doing now.
  double next(double now, bool other_moves) const {
    if (done()) return never;
    if (!moving_) return moves_from_;
    return current().over ? since_base(current().end_ns) : now + left_ / rate(other_moves);
  }
  void advance(double by_ns, bool other_moves) {
    if (moving_ && !current().over) left_ = std::max(0.0, left_ - by_ns * rate(other_moves));
  }
  void turn(double now) {
    if (!moving_) {
      moving_ = true;
      return;
    }
    if (!current().over) current().end_ns = base_ns_ + static_cast<std::uint64_t>(std::llround(now));
    free_at_ = now;
    ++at_;
    begin();
  }

 private:
  Transfer& current() const { return queue_[at_]; }
  double since_base(std::uint64_t ns) const { return static_cast<double>(ns) - static_cast<double>(base_ns_); }
  // A byte a second at least: no transfer lasts for ever, whatever a stranger wrote into a card's file.
  double rate(bool other_moves) const { return std::max(1e-9, other_moves ? current().duplex : current().alone); }

  void begin() {
    moving_ = false;
    if (done()) return;
    Transfer& transfer = current();
    const double start =
        transfer.over ? since_base(transfer.start_ns) : std::max(free_at_, since_base(transfer.ready_ns));
    if (!transfer.over) transfer.start_ns = base_ns_ + static_cast<std::uint64_t>(std::llround(start));
    moves_from_ = start + static_cast<double>(transfer.latency_ns);
    left_ = static_cast<double>(transfer.bytes);
  }

  std::span<Transfer> queue_;
  const std::uint64_t base_ns_;
  std::size_t at_ = 0;
  bool moving_ = false;
  double moves_from_ = 0, left_ = 0, free_at_ = 0;
};

std::uint64_t first_start(std::span<const Transfer> queue) {
  if (queue.empty()) return UINT64_MAX;
  return queue.front().over ? queue.front().start_ns : queue.front().ready_ns;
}

}  // namespace

void place(std::span<Transfer> one, std::span<Transfer> other) {
  const std::uint64_t base_ns = std::min(first_start(one), first_start(other));
  Engine a(one, base_ns), b(other, base_ns);
  double now = 0;
  while (!a.done() || !b.done()) {
    const bool a_moves = a.moving(), b_moves = b.moving();
    const double next_a = a.next(now, b_moves), next_b = b.next(now, a_moves);
    const double next = std::max(now, std::min(next_a, next_b));
    a.advance(next - now, b_moves);
    b.advance(next - now, a_moves);
    now = next;
    if (b.done() || (!a.done() && next_a <= next_b))
      a.turn(now);
    else
      b.turn(now);
  }
}

}  // namespace lull::sim

// What it takes to decide, with many clients of one card: decide() alone, on a warm buffer, as the event thread calls
// it; half of the clients are trainers, half services, more than fit together. Each measured call follows a change: a
// request comes, a gate is answered, memory has moved, a request ends.
#include <chrono>
#include <random>

#include "broker/policy.h"
#include "tests/bench/broker_bench.h"
#include "tests/bench/report.h"

namespace {

using namespace lull;
using namespace lull::policy;

constexpr Bytes gib = 1ull << 30;

class Crowd {
 public:
  explicit Crowd(std::size_t count) : random_(count) {
    state_.gpu = {.capacity = 80 * gib, .native_reserve = 8ull << 20, .headroom = gib, .chunk = 128ull << 20};
    for (std::size_t i = 0; i < count; ++i) {
      Client c{.id = static_cast<ClientId>(i + 1), .klass = i % 2 ? Class::inference : Class::training};
      c.needed = (1 + random_() % 20) * gib;
      c.quota = c.quota_high = 0;
      c.gate = c.seen_gate = {1, GateState::closed};
      c.phase = {1, Phase::drained, Overdue::none};
      c.connected = now_;
      state_.clients.push_back(c);
    }
  }

  // Nanoseconds of each decide() that followed a change.
  std::vector<double> decide_times(unsigned calls) {
    std::vector<double> times;
    while (times.size() < calls) {
      change();
      const auto before = std::chrono::steady_clock::now();
      decide(state_, now_, decisions_);
      const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - before;
      times.push_back(took.count());
      remember(state_, decisions_, now_);
      for (unsigned n = 0; n < 20 && decisions_.size() > 1; ++n) {
        answer();
        decide(state_, now_, decisions_);
        remember(state_, decisions_, now_);
      }
    }
    return times;
  }

 private:
  void change() {
    now_ += (1 + random_() % 200) * ms;
    Client& c = state_.clients[random_() % state_.clients.size()];
    if (c.klass == Class::inference && c.waiting == 0) {
      c.waiting = 1;
      c.proven = true;
      c.last_arrival = c.last_request_activity = now_;
    } else {
      c.waiting = 0;
      c.last_request_activity = now_;
      c.wants = c.gate.state == GateState::closed && c.klass == Class::training;
      if (c.wants) c.wants_since = now_;
    }
  }

  // Every shim does at once what it was told.
  void answer() {
    for (Client& c : state_.clients) {
      if (c.seen_gate != c.gate) {
        c.seen_gate = c.gate;
        c.phase = {c.gate.generation, c.gate.state == GateState::closed ? Phase::drained : Phase::running,
                   Overdue::none};
      }
      if (!c.quota) continue;
      c.quota_high = *c.quota;
      const bool may_leave = c.gate.state == GateState::closed;
      if (c.resident > *c.quota && may_leave) c.resident = *c.quota;
      if (c.resident < *c.quota) c.resident = std::min(c.needed, *c.quota);
      c.whole_since = c.resident < c.needed ? 0 : c.whole_since ? c.whole_since : now_;
      if (c.gate.state != GateState::closed) c.wants = false;
    }
  }

  State state_;
  Decisions decisions_;
  std::mt19937_64 random_;
  Time now_ = 1000 * second;
};

}  // namespace

double lull::bench::decide_median_us(std::size_t clients, unsigned calls) {
  Crowd crowd(clients);
  (void)crowd.decide_times(calls / 10);  // buffers, caches
  return percentile(crowd.decide_times(calls), 0.5) / 1000;
}

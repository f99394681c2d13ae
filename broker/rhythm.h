// broker/rhythm.h: arrivals that come by the clock and lead to nothing: health checks that no rule names, because what
// they say is encrypted. Real requests in between do not hide them, and a client that asks by the clock and is served
// is none of them.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>

#include "broker/policy.h"

namespace lull {

class Rhythm {
 public:
  using Time = policy::Time;

  // Whether it comes when something that led to nothing was due: at equal distances from `steps` earlier ones.
  bool arrived(Time at) {
    const bool due = is_due(at);
    past_[next_++ % past_.size()] = {at, due};
    return due;
  }
  // The arrival at that time, and those since, have led to work.
  void worked(Time at) {
    for (Arrival& a : past_)
      if (a.at >= at) a = {};
  }
  bool was_due(Time at) const {
    return std::any_of(past_.begin(), past_.end(), [&](const Arrival& a) { return a.at == at && a.due; });
  }

 private:
  struct Arrival {
    Time at = 0;
    bool due = false;
  };
  static constexpr Time shortest = policy::second, jitter = 250 * policy::ms;
  static constexpr int steps = 3;

  bool near(Time at) const {
    return std::any_of(past_.begin(), past_.end(), [&](const Arrival& a) {
      return a.at != 0 && std::max(a.at, at) - std::min(a.at, at) <= jitter;
    });
  }
  bool is_due(Time at) const {
    return std::any_of(past_.begin(), past_.end(), [&](const Arrival& a) {
      const Time period = at - std::min(at, a.at);
      if (a.at == 0 || period < shortest || at < steps * period) return false;
      for (int i = 2; i <= steps; ++i)
        if (!near(at - static_cast<Time>(i) * period)) return false;
      return true;
    });
  }

  std::array<Arrival, 16> past_{};
  std::size_t next_ = 0;
};

}  // namespace lull

// broker/histogram.h: how many of many durations were how long, in steps that suit hand-overs of a card.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "broker/policy.h"

namespace lull {

struct Histogram {
  // In nanoseconds. Those who read the counts elsewhere (Prometheus) sum up over brokers and versions by these bounds:
  // add some, but do not move them.
  static constexpr std::array<policy::Time, 18> bounds = {
      100'000,       250'000,       500'000,       1'000'000,      2'500'000,      5'000'000,
      10'000'000,    25'000'000,    50'000'000,    100'000'000,    250'000'000,    500'000'000,
      1'000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000, 30'000'000'000, 60'000'000'000};

  void add(policy::Time took) {
    const auto at = std::lower_bound(bounds.begin(), bounds.end(), took);  // the first bound that is not less
    ++counts[static_cast<std::size_t>(at - bounds.begin())];
    sum += took;
  }

  std::array<std::uint64_t, bounds.size() + 1> counts{};  // the last: longer than every bound
  policy::Time sum = 0;
};

}  // namespace lull

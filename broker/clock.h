// broker/clock.h: the one clock of the broker, the pages and the kernel programs.
#pragma once
#include <ctime>

#include "broker/policy.h"

namespace lull {

inline policy::Time now_ns() {
  timespec t{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &t);  // cannot fail with this clock
  return static_cast<policy::Time>(t.tv_sec) * policy::second + static_cast<policy::Time>(t.tv_nsec);
}

}  // namespace lull

// shim/clock.h: the clock both sides and the kernel programs share.
#pragma once
#include <cstdint>
#include <ctime>

namespace lull {

inline std::uint64_t monotonic_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace lull

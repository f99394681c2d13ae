#pragma once
#include <cstdint>

namespace lull::sim {

std::uint64_t now_ns();  // CLOCK_MONOTONIC

}  // namespace lull::sim

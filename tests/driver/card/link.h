// Two engines that share a link: arithmetic, without clock or lock.
//
// Each engine moves its transfers one after another, in the order they were queued: latency first, then bytes. While
// both engines move bytes at the same instant both are slower. So what one engine is given changes when the other's
// transfers end, and place() works out all of it again, piece by piece between the instants at which either engine
// begins or stops to move bytes. Transfers that are over stay as they were.
#pragma once
#include <cstdint>
#include <span>

namespace lull::sim {

struct Transfer {
  std::uint64_t ready_ns = 0;  // not before this
  std::uint64_t latency_ns = 0;
  std::uint64_t bytes = 0;
  double alone = 1;   // bytes a nanosecond
  double duplex = 1;  // while the other engine moves bytes
  std::uint64_t start_ns = 0, end_ns = 0;
  bool over = false;  // start and end are settled
};

// Settles nothing: works out start and end of every transfer that is not over, in both queues.
void place(std::span<Transfer> one, std::span<Transfer> other);

}  // namespace lull::sim

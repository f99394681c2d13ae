// Whose kernel computes. Within a process waiting kernels go by the priority of their streams, then in the order they
// came; between processes the card's engine is taken in turns. A kernel that has computed for a slice gives way to
// whoever waits, and waits itself: so long kernels, and kernels that wait for others, do not keep the card.
#pragma once
#include <cstdint>
#include <functional>

#include "tests/driver/stream/operation.h"

namespace lull::sim {

inline constexpr std::uint64_t compute_slice_ns = 2'000'000;  // as long as GPUs of today give a process

class ComputeTurn {
 public:
  using Slice = std::function<void(std::uint64_t start_ns, std::uint64_t end_ns)>;  // told of each one that is over

  ComputeTurn(Device& device, int priority, const Life& life, Slice over);
  ~ComputeTurn() { end(); }
  ComputeTurn(const ComputeTurn&) = delete;
  ComputeTurn& operator=(const ComputeTurn&) = delete;

  void breathe();       // by the kernel, every millisecond or so
  std::uint64_t end();  // when it ended
  std::uint64_t began_ns() const { return began_ns_; }

 private:
  void take();
  void give();

  Device& device_;
  const int priority_;
  const Life& life_;
  const Slice over_;
  std::uint64_t began_ns_ = 0, slice_ns_ = 0, ended_ns_ = 0;
  bool alone_ = false;    // of this process, on the engine
  bool in_turn_ = false;  // of the processes
};

}  // namespace lull::sim

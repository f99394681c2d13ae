// shim/pointers.h: what the shim knows of an address: who asks about pointers does so for each launch (Triton's
// launcher for each argument), so a thread keeps its last answers. They hold until somebody changes something: every
// Locked that is not only for looking counts (lock.h).
#pragma once
#include <optional>

#include "shim/allocations.h"
#include "shim/range_tree.h"
#include "shim/real.h"

namespace lull::pointers {

// Memory that the program has mapped itself.
struct Mapped {
  CUdeviceptr at;
  std::uint64_t bytes;
  int device;
  std::uint64_t handle_types, id;
  Range reservation;
  int access;  // of its own device
  bool rdma_capable, decompress_capable, pinned;
};

struct Known {
  std::optional<allocations::Allocation> allocation;
  std::optional<Mapped> mapping;
  explicit operator bool() const { return allocation || mapping; }
};

Known look_up(CUdeviceptr pointer);

}  // namespace lull::pointers

// What is known about the blocks of managed memory.
#pragma once
#include <algorithm>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "tests/driver/managed/managed.h"

namespace lull::sim {

// A place: a device's ordinal, or one of these. The first two are what the attributes answer.
using Place = int;
inline constexpr Place on_host = CU_DEVICE_CPU, nowhere = CU_DEVICE_INVALID, on_node_0 = -3;

struct Block {
  Place where = nowhere, preferred = nowhere, last_prefetch = nowhere;
  bool read_mostly = false;
  std::uint32_t accessed_by = 0;  // bit 0: the host, bit 1 + n: device n
};

struct ManagedAllocation {
  std::size_t bytes;
  unsigned attach;  // CUmemAttach_flags
  std::vector<Block> blocks;
};

struct Managed {
  std::mutex mutex;  // taken after Space::mutex where both are
  std::map<std::uintptr_t, ManagedAllocation> allocations;

  // The blocks of a range that lies in one allocation; empty otherwise, or if it has no bytes.
  std::span<Block> blocks_of(std::uintptr_t address, std::size_t bytes);
};
Managed& managed();

// Moves blocks to a place, locked. Those that find no room on a card become the host's. The bytes that had to cross
// the link, each way.
struct Moved {
  std::size_t to_device = 0, to_host = 0;
};
Moved move_blocks(std::span<Block> blocks, Place to);

}  // namespace lull::sim

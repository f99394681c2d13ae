// Migrations of managed memory as work of a stream: with the time the copy engines take, and lines in the journal.
#pragma once
#include "tests/driver/managed/blocks.h"

namespace lull::sim {

struct ManagedRange {
  std::uintptr_t address;
  std::size_t bytes;
};
void migrate(Running& running, const ManagedRange& range, Place to);
void discard(const ManagedRange& range);  // the blocks that are wholly in it hold nothing any more

}  // namespace lull::sim

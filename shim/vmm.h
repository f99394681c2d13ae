// shim/vmm.h: one chunk's physical memory: made, mapped, unmapped, given back. All under the ledger's lock where the
// program may have mappings of the chunk.
#pragma once
#include <optional>

#include "shim/ledger.h"
#include "shim/range_tree.h"

namespace lull::vmm {

// Creates the physical memory of neighbouring chunks of one region and maps it at their addresses, and wherever the
// program has them mapped. On failure nothing is left behind.
inline constexpr unsigned longest_run = 8;
CUresult map(ledger::Chunk* const* run, unsigned count);
// Unmaps and releases. Work that touches the chunk must have finished; the driver does not promise to wait. False: the
// driver has refused, and all is mapped as before.
bool unmap(ledger::Chunk&);
// The same for what is of no use any more: as much of it as the driver will. What it refuses is tried again when the
// chunk is mapped anew.
void discard(ledger::Chunk&);

bool rdma_capable(unsigned slot);  // whether memory made as cuMemAlloc's is

// The part of a program's mapping where this chunk lies; the mapping may end before it.
std::optional<Range> piece_of(const Mapping&, const ledger::Chunk&);
CUresult map_piece(const Mapping&, const ledger::Chunk&);  // with the access the program has given

}  // namespace lull::vmm

// shim/vmm.h: one chunk's physical memory: made, mapped, unmapped, given back.
#pragma once
#include "shim/ledger.h"

namespace lull::vmm {

// Creates the chunk's physical memory and maps it at its address. On failure nothing is left behind.
CUresult map(ledger::Chunk&);
// Unmaps and releases. Work that touches the chunk must have finished; the driver does not promise to wait.
void unmap(ledger::Chunk&);

}  // namespace lull::vmm

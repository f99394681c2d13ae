// shim/native.h: device memory of the program that cannot move: pools (pools.h), graphs (graph_memory.h), arrays
// (arrays.h). Pinned memory is the ledger's,
// managed memory that is not moved managed.h's. What contexts and modules take has no function that tells it: the
// broker keeps room for it and sees it in what the process holds altogether.
#pragma once
#include <cstdint>

namespace lull::native {

std::uint64_t bytes(unsigned slot);  // asks the driver
// Of that, what may be given back: what pools do not use, and what graphs keep.
std::uint64_t idle(unsigned slot);
// Gives it back, whatever the pools' release thresholds, which stay as they are. The mover's thread, after a drain.
// False: a capture is open, ask again.
bool trim(unsigned slot);

void changed();           // there is more or less of it
std::uint64_t changes();  // so far; 0: never any
bool may_differ(std::uint64_t since);

}  // namespace lull::native

// shim/arrays.h: how much the program's arrays hold. Their layout is opaque, so they stay where they are, and count as
// native. Not counted: sparse arrays and those whose memory the program maps later; that is its own virtual memory.
#pragma once
#include <cstdint>

#include "shim/real.h"

namespace lull::arrays {

std::uint64_t bytes(unsigned slot);
void forget_context(CUcontext context);  // its arrays are gone with it

}  // namespace lull::arrays

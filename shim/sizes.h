// shim/sizes.h: the sizes a process was promised: the same for every process, fixed, never dependent on neighbours.
//
// They come from the file `gpus` in the class directory, one line a GPU: "GPU-<uuid> <total bytes> <chunk bytes>".
// Without it (no broker yet) the card's own size holds. The first answer stands for the life of the process.
#pragma once
#include <cstdint>

#include "shim/real.h"

namespace lull::sizes {

std::uint64_t total(unsigned slot);  // bytes one process may use through Lull
std::uint64_t chunk(unsigned slot);  // unit of eviction, a multiple of 2 MiB

}  // namespace lull::sizes

// How many blocks of a kernel a multiprocessor holds at once.
#pragma once
#include <cstddef>

#include "tests/driver/ptx/ptx.h"
#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

// By threads, shared memory, registers and the card's own limit; 0: not one.
unsigned blocks_per_multiprocessor(const ptx::Kernel& kernel, CUdevice device, std::uint64_t threads,
                                   std::size_t dynamic_shared);
// On the whole card: what a cooperative launch may have.
std::uint64_t resident_blocks(const ptx::Kernel& kernel, CUdevice device, std::uint64_t threads,
                              std::size_t dynamic_shared);

}  // namespace lull::sim

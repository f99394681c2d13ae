// The exports of CUDA before 3.2, where sizes and device pointers have 32 bits.
//
// They are thin forms of their successors. What they allocate lies below 4 GiB, so that its address can be told; an
// address or a size of other memory that does not fit is CUDA_ERROR_INVALID_VALUE, and the sizes of a card that has
// more than 4 GiB are the largest number that fits.
#pragma once
#include <cstdint>
#include <limits>

#include "tests/driver/context/context.h"

namespace lull::sim {

// Device memory below 4 GiB. 0: the card is full, or that part of the address space.
std::uintptr_t allocate_low(Context& context, std::size_t bytes);

inline unsigned clamped(std::size_t value) {
  constexpr std::size_t most = std::numeric_limits<unsigned>::max();
  return static_cast<unsigned>(value < most ? value : most);
}

// Tells a number where it fits; a null `out` does not want to know.
inline CUresult narrow(std::size_t value, unsigned* out) {
  if (!out) return CUDA_SUCCESS;
  if (value > std::numeric_limits<unsigned>::max()) return CUDA_ERROR_INVALID_VALUE;
  *out = static_cast<unsigned>(value);
  return CUDA_SUCCESS;
}

}  // namespace lull::sim

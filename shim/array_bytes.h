// shim/array_bytes.h: how much memory an array takes: at least so much, for its layout is the driver's own.
#pragma once
#include <cstdint>

#include "shim/real.h"

namespace lull {

inline std::uint64_t bytes_of(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8: return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF: return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT: return 4;
    default: return 1;  // packed and block formats: about a byte an element
  }
}

// Of the description of any kind of array, with its smaller levels if it has some.
template <class Description>
std::uint64_t array_bytes(const Description& d, unsigned levels = 1) {
  const auto at_least_one = [](std::uint64_t extent) { return extent ? extent : 1; };
  std::uint64_t width = d.Width, height = at_least_one(d.Height), depth = 1, elements = 0;
  if constexpr (requires { d.Depth; }) depth = at_least_one(d.Depth);
  for (unsigned level = 0; level < levels; ++level) {
    elements += width * height * depth;
    width = at_least_one(width / 2), height = at_least_one(height / 2), depth = at_least_one(depth / 2);
  }
  return elements * d.NumChannels * bytes_of(d.Format);
}

}  // namespace lull

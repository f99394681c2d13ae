// The formats of array elements.
#pragma once
#include <cstddef>

#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

enum class FormatKind { unknown, plain, normalised, planar, absent };

struct Format {
  FormatKind kind = FormatKind::unknown;
  std::size_t channel_bytes = 0;
  unsigned channels = 0;  // where the format itself says how many
};
Format format_of(CUarray_format format);

}  // namespace lull::sim

// Copies and fills, as work for a stream.
#pragma once
#include <cstdint>

#include "tests/driver/stream/stream.h"

namespace lull::sim {

// A box of bytes: `width` contiguous ones, `height` rows, `depth` slices. A plain copy is one row of one slice.
struct Side {
  std::uintptr_t address = 0;
  std::size_t pitch = 0;  // bytes from row to row
  std::size_t slice = 0;  // bytes from slice to slice
};
struct Box {
  Side to, from;
  std::size_t width = 0, height = 1, depth = 1;
  std::size_t bytes() const { return width * height * depth; }
};

enum class Route { to_device, to_host, within_device, within_host };
enum class Wait { yes, no };

// Checks the box, queues the copy, and waits for it if asked to, or if pageable host memory takes part: the driver
// promises not to touch that after the call. (It moves at the same bandwidth as page-locked memory here.)
CUresult queue_copy(Stream& stream, const Box& box, Route route, Wait wait);

struct Fill {
  Side to;
  std::uint32_t value = 0;
  unsigned element_bytes = 1;
  std::size_t width = 0, height = 1;  // elements, rows
};
CUresult queue_fill(Stream& stream, const Fill& fill);

// Whether an address is the device's, and so which way a generic copy goes.
Route route_between(std::uintptr_t to, std::uintptr_t from);

}  // namespace lull::sim

// Copies and fills, as work for a stream.
#pragma once
#include <cstdint>

#include "tests/driver/stream/operation.h"
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

class CopyOperation : public Operation {
 public:
  CopyOperation(const Box& box, Route route) : box_(box), route_(route) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_MEMCPY; }
  CUresult run(Running&) const override;
  const Box& box() const { return box_; }
  Route route() const { return route_; }

 private:
  Box box_;
  Route route_;
};
// The box that a copy of any kind means; 1 (or 801 for arrays) if it means none.
CUresult box_of(const CUDA_MEMCPY3D& asked, Box& box, Route& route);
// What is known to be wrong when a copy is asked for.
CUresult check_copy(const Box& box, Route route);

// Checks the box, queues the copy, and waits for it if asked to, or if pageable host memory takes part: the driver
// promises not to touch that after the call. (It moves at the same bandwidth as page-locked memory here.)
CUresult queue_copy(Stream& stream, const Box& box, Route route, Wait wait);

struct Fill {
  Side to;
  std::uint32_t value = 0;
  unsigned element_bytes = 1;
  std::size_t width = 0, height = 1;  // elements, rows
};

class FillOperation : public Operation {
 public:
  explicit FillOperation(const Fill& fill) : fill_(fill) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_MEMSET; }
  CUresult run(Running&) const override;
  const Fill& fill() const { return fill_; }

 private:
  Fill fill_;
};
CUresult check_fill(const Fill& fill);
CUresult queue_fill(Stream& stream, const Fill& fill);

// Whether an address is the device's, and so which way a generic copy goes.
Route route_between(std::uintptr_t to, std::uintptr_t from);

}  // namespace lull::sim

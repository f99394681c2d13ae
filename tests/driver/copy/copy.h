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
struct CopyPlan {
  Box box;
  Route route = Route::within_host;
};

// What a function promises its caller about host memory:
//                           sync form                        async form
//   pageable to device      when it is staged                when it is staged
//   pinned to device        when it is done                  at once
//   device to pageable      when it is done                  when it is done
//   device to pinned        when it is done                  at once
//   host to host            when it is done                  when it is done
//   device to device        at once                          at once
// Up to 64 KiB are staged whole, so the copy itself is later than the call; more is staged in turns with its transfer.
// `source_read` is the async form for sources that live no longer than the call.
enum class Wait { yes, no, source_read };

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

// Whether the memory at an address is a device's (unmapped reservations are), and so which way a generic copy goes.
bool known_to_device(std::uintptr_t address);
Route route_between(std::uintptr_t to, std::uintptr_t from);

// What is refused at the call; the rest is found when the engine gets there.
CUresult check_copy(const Box& box, Route route);
CUresult queue_copy(Stream& stream, const CopyPlan& plan, Wait wait);

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
// The sync form waits where the memory is pinned or managed; for other device memory it does not.
CUresult queue_fill(Stream& stream, const Fill& fill, Wait wait);

}  // namespace lull::sim

// shim/pools.h: the pools of stream-ordered memory. Their memory is the driver's own and cannot move; what they keep
// and nobody uses leaves the card at an eviction.
//
// How much they hold the driver counts itself, by pool (cuMemPoolGetAttribute), whichever way memory was freed: in the
// order of a stream, by cuMemFree, by a graph. So no pointers are noted here, only which pools there are: a device's
// default pool and those the program has made; its current pool is one of them. A pool that is destroyed while memory
// of it is in use can no longer be asked, and that memory is not counted.
#pragma once
#include <cstdint>

namespace lull::pools {

struct Held {
  std::uint64_t reserved = 0;  // device memory of the pools
  std::uint64_t used = 0;      // of that, allocated by the program
  std::uint64_t idle() const { return reserved > used ? reserved - used : 0; }
};
Held held(unsigned slot);

bool trim(unsigned slot);  // as native::trim, which see; with what graphs keep

}  // namespace lull::pools

// shim/allocations.h: what the program got from cuMemAlloc, in regions of the ledger (ledger.h).
//
// Large allocations have a region of their own; others are blocks of shared ones. The table lies under the ledger's
// lock, which the functions take themselves.
#pragma once
#include <cstdint>
#include <optional>

#include "shim/lock.h"
#include "shim/range_tree.h"
#include "shim/real.h"

namespace lull::ledger {
struct Region;
}

namespace lull::allocations {

struct Allocation {
  CUdeviceptr base;
  std::uint64_t bytes;  // as asked for
  std::uint64_t span;   // as taken from the region
  ledger::Region* region;
  CUcontext context;
  std::uint64_t id;  // never reused
  bool taken;        // freed by the program; the memory is still to be given back
  Range range() const { return {base, span}; }
};

// The driver's answers, with virtual limits: CUDA_ERROR_OUT_OF_MEMORY only when this process has used up what it was
// promised, when there is no place to evict the memory to, or (unmanaged) when the card is really full.
CUresult allocate(unsigned slot, CUcontext context, std::uint64_t bytes, CUdeviceptr* base);
CUresult release(CUdeviceptr base);  // CUDA_ERROR_INVALID_VALUE: not ours
// Releases it if it belongs to that context, in which nothing runs. Else its context is told; null: not ours.
struct Released {
  bool done;
  CUcontext context;
};
Released release_idle(CUdeviceptr base, CUcontext idle);
// In two steps, where work may still use the memory (deferred.h): out of the program's sight, and given back.
std::optional<std::uint64_t> take(CUdeviceptr base);  // its id; nothing: not ours
void give_back(CUdeviceptr base, std::uint64_t id);   // does nothing if it has gone with its context
std::optional<Allocation> find(CUdeviceptr inside);
std::optional<Allocation> find(const Locked&, CUdeviceptr inside);
ledger::Region* region_of(const Locked&, CUdeviceptr inside);  // null: not ours
void release_context(CUcontext context);  // the context is gone, and with it the program's claim to its memory

}  // namespace lull::allocations

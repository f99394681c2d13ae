// shim/managed.h: memory of cuMemAllocManaged. It has one address for host and device, and its pages go where they are
// used. To the ledger it is a region that is always mapped: a chunk leaves by a prefetch to the host and comes back by
// one to the device (residency.h). The host may use it meanwhile; the bytes are nowhere else.
//
// It counts as resident while it may be on the card; which of its pages are, only the driver knows. Native, and counted
// as such: what exceeds the promise, for programs oversubscribe with it on purpose; all of it where the device does not
// let the host use it concurrently, since then it cannot be prefetched.
#pragma once
#include <cstdint>

#include "shim/real.h"

namespace lull::ledger {
struct Chunk;
}

namespace lull::managed {

std::uint64_t native_bytes(unsigned slot);
// Around the driver's own free: what has this base now, and that it has gone.
std::uint64_t id_of(CUdeviceptr base);  // 0: none that is known
void freed(CUdeviceptr base, std::uint64_t id);
void forget_context(CUcontext context);  // it is gone, and its memory with it

// A prefetch of what is advised as mostly read makes one more copy of it and leaves those that are there. So the advice
// is taken back for as long as the chunk leaves. True: it was given, for all of the chunk.
bool unset_read_mostly(const ledger::Chunk&);
void set_read_mostly(const ledger::Chunk&);

}  // namespace lull::managed

// shim/residency.h: moves chunks between device and host, at the same addresses. The mover's thread only.
//
//   evict     hash ──same as the copy──────────────▶ unmap        at memory bandwidth, nothing copied
//                  ──changed, or never copied──▶ copy ──▶ unmap   in pieces, the next chunk's hash meanwhile
//   restore   map ──▶ copy ──▶ hash again ──the same──▶ present   else it is taken back and tried again
//
// Rules: nothing is unmapped before its copy is known to be good; a restore that fails keeps the copy and the hold; one
// stream a direction, several pieces in flight; the quota is read again before every piece, so a movement that is no
// longer wanted ends within the pieces in flight. The copy stays after the restore, for the next eviction; it goes only
// when another chunk needs its place.
#pragma once
#include "protocol/words.h"
#include "shim/real.h"

namespace lull::residency {

// Ahead of need, with a context of this GPU current: what an eviction will need of the driver.
void prepare(unsigned slot, CUcontext context);
bool prepared(unsigned slot, CUcontext context);

// Evicts until resident <= quota. The gate is closed and the device drained; the hold is set meanwhile and stays while
// anything is absent. Returns none when done or no longer asked for.
Overdue evict(unsigned slot);

// Evicts everything, whatever the quota (a client without a broker that could not come back whole).
Overdue evict_all(unsigned slot);

// Brings absent chunks back as far as the quota allows.
Overdue restore(unsigned slot);

bool anything_absent(unsigned slot);
bool all_at_hand(unsigned slot);         // false: some of what is absent is on disk, and is now asked for
void forget_context(CUcontext context);  // its streams and events are gone with it

}  // namespace lull::residency

// shim/residency.h: moves chunks between device and host, at the same addresses. The mover's thread only.
//
// Rules: nothing is unmapped before its copy has finished without error; a restore that fails keeps the host copy and
// the hold; one stream a direction, several copies in flight; the quota is read again before every chunk, so a
// cancelled eviction stops within the copies in flight.
#pragma once
#include "protocol/words.h"
#include "shim/real.h"

namespace lull::residency {

// Evicts until resident <= quota. The gate is closed and the device drained; the hold is set meanwhile and stays while
// anything is absent. Returns none when done or no longer asked for.
Overdue evict(unsigned slot);

// Evicts everything, whatever the quota (a client without a broker that could not come back whole).
Overdue evict_all(unsigned slot);

// Brings absent chunks back as far as the quota allows.
Overdue restore(unsigned slot);

bool anything_absent(unsigned slot);
void forget_context(CUcontext context);  // its streams and events are gone with it

}  // namespace lull::residency

// shim/drain.h: proof that nothing of this process runs on a GPU any more.
//
// After the gate has closed: every thread has returned from the driver; then one event on each context's legacy stream
// (which covers the blocking and the per-thread streams) has come to pass and each non-blocking stream is idle; last
// the context synchronise, which by then only waits for streams nobody told us of. Nothing of this while a capture is
// open.
#pragma once
#include <cstdint>

#include "protocol/words.h"
#include "shim/real.h"

namespace lull::drain {

enum class Outcome { drained, gate_changed, overdue };

struct Result {
  Outcome outcome;
  Overdue reason;
};

// Waits at most until deadline_ns (CLOCK_MONOTONIC); gives up early when the gate word is no longer `word`.
void forget_context(CUcontext context);  // its events are gone with it; the mover rests

// Of what a drain has found done, the driver is told that the host knows: only then do pools let go of what was freed.
void see_completed();

bool marking();  // an event of ours may be all that a legacy stream is busy with

Result wait(unsigned slot, std::uint64_t word, std::uint64_t deadline_ns);

}  // namespace lull::drain

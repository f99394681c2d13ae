// shim/flight.h: work in flight is bounded, so that a drain is short: at most about drain_limit_us of it (DownGpu) may
// wait on the device in a stream of this process. 0: no bound, and nothing of this happens.
//
// A thread counts its submissions down (gate::Entry::credit). When none is left, its next one takes the gate's slow
// path, and looks:
//
//   outside   what it has submitted since its last look is counted to the stream of that look; the markers of the
//   stream
//             it submits to now are asked whether they have been passed; what is still ahead is estimated (backlog.h);
//             if that is more than the limit, the thread waits until it is half of it
//   inside    a marker, an event without timing, is placed in front of its submission, in the same stream, so that it
//             makes nobody wait who would not have waited anyway
//
// and has credit again, until a marker is due or the limit might be reached. Threads that submit to several streams
// look at uneven intervals, so each stream gets its share.
//
// Nothing here is certain, and nothing depends on it: a lock that is not free, an event that cannot be made, a stream
// that captures, all mean that this look is left out. The wait ends when the gate closes (the gate keeps the thread
// then), when the limit is gone, and in any case after twenty times the limit; a stream that has not moved until then
// is let more and more before the next wait.
#pragma once
#include "shim/gate.h"
#include "shim/real.h"

namespace lull::flight {

bool look(gate::Entry& mine, const gate::Submission& what);  // true: mark() when inside
void mark(gate::Entry& mine, const gate::Submission& what);

bool bounded();  // a limit stands: what a submission weighs matters

// The mover's part: a new limit finds no thread with endless credit. False: not done, look again soon.
bool follow();

void forget_stream(CUstream stream);     // about to be destroyed: the next one of that name is another
void forget_context(CUcontext context);  // about to be destroyed, and its events with it

}  // namespace lull::flight

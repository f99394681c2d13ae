// shim/deferred.h: memory of cuMemAlloc that the program has freed and that work may still use. It is out of the
// program's sight (allocations.h), and goes
//
//   freed in a stream        when the stream has come to the free: an event tells
//   freed during a capture   when no capture is open, after a wait for all work: that would have broken the capture
#pragma once
#include "shim/real.h"

namespace lull::deferred {

// Both: CUDA_ERROR_INVALID_VALUE if it is no allocation's base. Or what the driver says of the stream.
CUresult free_in_stream(CUdeviceptr base, CUstream stream);
CUresult free_after_captures(CUdeviceptr base);

// Gives back what no work uses any more. True: there was something.
bool give_back_finished();  // never waits
void give_back();           // the mover's thread: waits for work

void forget_context(CUcontext context);  // it is gone, and its events with it

}  // namespace lull::deferred

// shim/mover.h: the thread that follows the broker's words: drains, evicts, restores. It makes CUDA calls in RELAXED capture
// mode on streams of its own, so no capture of the program is disturbed.
#pragma once
#include "shim/lock.h"

namespace lull::mover {

void start();  // once, with the first context

// Held while the mover works with contexts. Whoever destroys a context takes it first, so that the mover's copies are not
// cut off; held at most for one move.
Mutex& work_mutex();

}  // namespace lull::mover

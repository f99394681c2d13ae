// shim/mover.h: the thread that follows the broker's words: drains, evicts, restores. It makes CUDA calls in RELAXED
// capture mode on streams of its own, so no capture of the program is disturbed.
#pragma once
namespace lull::mover {

void start();  // once, with the first context

bool wanted_to_rest();  // somebody waits to destroy a context: leave off at the next safe point

// Keeps the mover from working with contexts. Whoever destroys a context holds one, so that no copy is cut off. The
// mover leaves off within the copies in flight; should it be stuck in the driver, the wait ends after a second, because
// programs destroy contexts on their way out.
class Rest {
 public:
  Rest();
  ~Rest();
  Rest(const Rest&) = delete;
  Rest& operator=(const Rest&) = delete;

 private:
  bool held_;
};

}  // namespace lull::mover

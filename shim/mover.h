// shim/mover.h: the thread that follows the broker's words: drains, evicts, restores. It makes CUDA calls in RELAXED capture
// mode on streams of its own, so no capture of the program is disturbed.
#pragma once
namespace lull::mover {

void start();  // once, with the first context

// Keeps the mover from working with contexts. Whoever destroys a context holds one, so that no copy is cut off; but for at
// most a second, because programs destroy contexts on their way out. A copy cut off after that fails, and its data stays
// where it was.
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

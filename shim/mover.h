// shim/mover.h: the thread that follows the broker's words: drains, evicts, restores. It makes CUDA calls in RELAXED
// capture mode on streams of its own, so no capture of the program is disturbed.
#pragma once
#include <atomic>
#include <cstdint>

namespace lull::mover {

void start();  // once, with the first context

bool wanted_to_rest();  // somebody waits to destroy a context: leave off at the next safe point

// Keeps the mover from working with contexts. Whoever destroys a context has one, so that no copy is cut off. The mover
// leaves off within the copies in flight. Neither waits for ever: should the mover be stuck in the driver, the wait
// ends after a second for all contexts together, because programs destroy them on their way out; should whoever rests
// never come back, since a signal's handler has jumped out of the driver's call, the mover goes on after five.
class Rest {
 public:
  Rest();
  ~Rest();
  Rest(const Rest&) = delete;
  Rest& operator=(const Rest&) = delete;

 private:
  void ask(std::uint64_t until_ns);
  std::atomic<std::uint64_t>* place_ = nullptr;  // until when the mover is asked to rest
};

}  // namespace lull::mover

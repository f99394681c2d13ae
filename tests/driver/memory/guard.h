// Runs something that may touch memory which is not there, as kernels and copies do, and tells whether it did.
//
// The fault is a SIGSEGV or SIGBUS in the guarded thread; the handler jumps back here. Destructors of what ran are
// skipped, so it may hold no lock and own nothing. Faults of other code go to whoever handled them before.
#pragma once
#include <setjmp.h>

#include <cstdint>

namespace lull::sim {

void install_guard();  // at cuInit, and again where a program put its own handler over ours

struct GuardFrame {
  sigjmp_buf back;
  std::uintptr_t address;  // of the fault
};
GuardFrame*& guard_frame();
void fault_found(std::uintptr_t address);  // tells the report

// True: it ran to its end. False: it touched memory that is not there.
template <class F>
bool run_touching_memory(F&& f) {
  install_guard();
  GuardFrame frame{};
  GuardFrame* const outer = guard_frame();
  if (sigsetjmp(frame.back, 0) != 0) {
    guard_frame() = outer;
    fault_found(frame.address);
    return false;
  }
  guard_frame() = &frame;
  f();
  guard_frame() = outer;
  return true;
}

}  // namespace lull::sim

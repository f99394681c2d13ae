// shim/gil.h: Python's lock. A thread that waits at the gate with the lock held would freeze every other Python thread:
// health checks, heartbeats, the data loader. On the gate's slow path only, give it up and take it back.
#pragma once

namespace lull {

class GilRelease {
 public:
  GilRelease() = default;
  ~GilRelease();  // takes the lock back if release() gave it up
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;
  void release();  // once; does nothing unless this thread holds the lock of a running interpreter

 private:
  void* saved_ = nullptr;
  bool asked_ = false;
};

bool interpreter_finalizes();  // Python is in this process, and at its end

}  // namespace lull

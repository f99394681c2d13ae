// shim/engine.h: the mover's own streams and events on one GPU.
#pragma once
#include <cstddef>

#include "shim/real.h"

namespace lull {

// Copies of one direction at a time, several in flight, finished in order. The mover's thread only.
class Engine {
 public:
  static constexpr unsigned depth = 8;

  // Makes the streams in `context` unless they are there. False: the driver refused.
  bool ready(CUcontext context);
  void forget() { *this = Engine{}; }
  CUcontext context() const { return context_; }

  CUresult copy_out(void* host, CUdeviceptr device, std::size_t bytes, unsigned ticket);
  CUresult copy_in(CUdeviceptr device, const void* host, std::size_t bytes, unsigned ticket);
  // Of managed memory: to the host, in the stream of what leaves; to a device, in that of what comes.
  CUresult prefetch_out(CUdeviceptr at, std::size_t bytes, unsigned ticket);
  CUresult prefetch_in(CUdeviceptr at, std::size_t bytes, CUdevice device, unsigned ticket);
  CUresult zero(CUdeviceptr device, std::size_t bytes, unsigned ticket);
  CUresult wait(unsigned ticket);  // until what has this ticket (< depth) has finished

 private:
  bool make();
  void destroy();
  CUresult mark(CUresult issued, unsigned ticket, CUstream stream);
  CUcontext context_ = nullptr;
  CUstream out_ = nullptr, in_ = nullptr;
  CUevent done_[depth] = {};
};

// Makes a context current for the calling thread and gives back the one before. Where it is current already nothing is
// done: that is the usual case, and a program that leaves by a signal's handler finds its contexts as they were.
class Current {
 public:
  explicit Current(CUcontext context) {
    CUcontext before = nullptr;
    is_ = real::cuCtxGetCurrent(&before) == CUDA_SUCCESS && before && before == context;
    if (!is_) is_ = pushed_ = real::cuCtxPushCurrent_v2(context) == CUDA_SUCCESS;
  }
  ~Current() {
    CUcontext context;
    if (pushed_) (void)real::cuCtxPopCurrent_v2(&context);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  explicit operator bool() const { return is_; }

 private:
  bool is_ = false, pushed_ = false;
};

}  // namespace lull

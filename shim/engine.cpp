#include "shim/engine.h"

namespace lull {

bool Engine::ready(CUcontext context) {
  if (context_ == context && context) return true;
  forget();
  if (!make()) return destroy(), false;
  context_ = context;
  return true;
}

bool Engine::make() {
  if (real::cuStreamCreate(&out_, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return false;
  if (real::cuStreamCreate(&in_, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return false;
  for (CUevent& event : done_)
    if (real::cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC) != CUDA_SUCCESS) return false;
  return true;
}

// What there is of them: making them is tried again and again, and each try must not leave anything behind.
void Engine::destroy() {
  for (CUevent event : done_)
    if (event) (void)real::cuEventDestroy_v2(event);
  for (CUstream stream : {out_, in_})
    if (stream) (void)real::cuStreamDestroy_v2(stream);
  forget();
}

// What cannot be marked is waited for at once: nothing may be in flight that nobody waits for.
CUresult Engine::mark(CUresult issued, unsigned ticket, CUstream stream) {
  if (issued != CUDA_SUCCESS) return issued;
  const CUresult marked = real::cuEventRecord(done_[ticket], stream);
  if (marked != CUDA_SUCCESS) (void)real::cuStreamSynchronize(stream);
  return marked;
}

CUresult Engine::copy_out(void* host, CUdeviceptr device, std::size_t bytes, unsigned ticket) {
  return mark(real::cuMemcpyDtoHAsync_v2(host, device, bytes, out_), ticket, out_);
}

CUresult Engine::copy_in(CUdeviceptr device, const void* host, std::size_t bytes, unsigned ticket) {
  return mark(real::cuMemcpyHtoDAsync_v2(device, host, bytes, in_), ticket, in_);
}

CUresult Engine::prefetch_out(CUdeviceptr at, std::size_t bytes, unsigned ticket) {
  return mark(real::cuMemPrefetchAsync(at, bytes, CU_DEVICE_CPU, out_), ticket, out_);
}

CUresult Engine::prefetch_in(CUdeviceptr at, std::size_t bytes, CUdevice device, unsigned ticket) {
  return mark(real::cuMemPrefetchAsync(at, bytes, device, in_), ticket, in_);
}

CUresult Engine::zero(CUdeviceptr device, std::size_t bytes, unsigned ticket) {
  return mark(real::cuMemsetD32Async(device, 0, bytes / 4, in_), ticket, in_);
}

// A wait that fails says nothing of the copy, which may still be under way to memory that goes next.
CUresult Engine::wait(unsigned ticket) {
  const CUresult waited = real::cuEventSynchronize(done_[ticket]);
  if (waited == CUDA_SUCCESS) return waited;
  (void)real::cuStreamSynchronize(out_);
  (void)real::cuStreamSynchronize(in_);
  return waited;
}

}  // namespace lull

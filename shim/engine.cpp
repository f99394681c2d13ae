#include "shim/engine.h"

namespace lull {

bool Engine::ready(CUcontext context) {
  if (context_ == context && context) return true;
  forget();
  if (real::cuStreamCreate(&out_, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return false;
  if (real::cuStreamCreate(&in_, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return false;
  for (CUevent& event : done_)
    if (real::cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC) != CUDA_SUCCESS) return false;
  context_ = context;
  return true;
}

CUresult Engine::copy_out(void* host, CUdeviceptr device, std::size_t bytes, unsigned ticket) {
  const CUresult result = real::cuMemcpyDtoHAsync_v2(host, device, bytes, out_);
  return result == CUDA_SUCCESS ? real::cuEventRecord(done_[ticket], out_) : result;
}

CUresult Engine::copy_in(CUdeviceptr device, const void* host, std::size_t bytes, unsigned ticket) {
  const CUresult result = real::cuMemcpyHtoDAsync_v2(device, host, bytes, in_);
  return result == CUDA_SUCCESS ? real::cuEventRecord(done_[ticket], in_) : result;
}

CUresult Engine::wait(unsigned ticket) { return real::cuEventSynchronize(done_[ticket]); }

}  // namespace lull

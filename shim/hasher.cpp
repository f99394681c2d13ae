#include "shim/hasher.h"

#include <sys/random.h>

#include "shim/clock.h"
#include "shim/log.h"

namespace lull {

bool Hasher::make() {
  CUmodule module = nullptr;
  if (real::cuModuleLoadData(&module, hash_kernel_text) != CUDA_SUCCESS) return false;
  if (real::cuModuleGetFunction(&kernel_, module, hash_kernel_name) != CUDA_SUCCESS) return false;
  if (real::cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return false;
  for (CUevent& event : done_)
    if (real::cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC) != CUDA_SUCCESS) return false;
  const std::size_t bytes = std::size_t{depth} * hash_most_blocks * hash_result_words * sizeof(std::uint64_t);
  void* results = nullptr;
  if (real::cuMemHostAlloc(&results, bytes, CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE) != CUDA_SUCCESS)
    return false;
  results_ = static_cast<std::uint64_t*>(results);
  return real::cuMemHostGetDevicePointer_v2(&results_there_, results, 0) == CUDA_SUCCESS;
}

bool Hasher::prepare(CUcontext context) {
  if (ready(context)) return true;
  if (!context || refused_ == context) return false;  // asked once, not at every look
  forget();
  if (!make()) {
    log::line("the hash of memory cannot be had; every eviction copies");
    forget();
    refused_ = context;
    return false;
  }
  if (::getrandom(&seed_, sizeof seed_, GRND_NONBLOCK) != sizeof seed_) seed_ = monotonic_ns();
  context_ = context;
  return true;
}

CUresult Hasher::begin(CUdeviceptr base, std::uint64_t bytes, unsigned ticket) {
  std::uint64_t pairs = bytes / 16, seed = seed_;
  const std::uint64_t wanted = (pairs + hash_threads - 1) / hash_threads;
  blocks_[ticket] = wanted < hash_most_blocks ? static_cast<unsigned>(wanted) : hash_most_blocks;
  CUdeviceptr results =
      results_there_ + static_cast<std::uint64_t>(results_of(ticket) - results_) * sizeof(std::uint64_t);
  void* arguments[] = {&base, &pairs, &seed, &results};
  const CUresult launched =
      real::cuLaunchKernel(kernel_, blocks_[ticket], 1, 1, hash_threads, 1, 1, 0, stream_, arguments, nullptr);
  if (launched != CUDA_SUCCESS) return launched;
  // What cannot be marked is waited for at once: the chunk may be unmapped as soon as nobody speaks of its hash.
  const CUresult marked = real::cuEventRecord(done_[ticket], stream_);
  if (marked != CUDA_SUCCESS) (void)real::cuStreamSynchronize(stream_);
  return marked;
}

bool Hasher::done(unsigned ticket) const { return real::cuEventQuery(done_[ticket]) != CUDA_ERROR_NOT_READY; }

CUresult Hasher::finish(unsigned ticket, Digest& digest) {
  const CUresult finished = real::cuEventSynchronize(done_[ticket]);
  if (finished != CUDA_SUCCESS) {
    (void)real::cuStreamSynchronize(stream_);
    return finished;
  }
  digest = {};
  std::uint64_t any = 0;
  const std::uint64_t* block = results_of(ticket);
  for (unsigned i = 0; i < blocks_[ticket]; ++i, block += hash_result_words) {
    digest.hash.low += block[0];
    digest.hash.high += block[1];
    any |= block[2];
  }
  digest.zero = any == 0;
  return CUDA_SUCCESS;
}

}  // namespace lull

// tests/bench/peer.cpp: another library that stands before launches: it counts them with a locked operation.
#include <cuda.h>
#include <dlfcn.h>

#include <atomic>

namespace {

std::atomic<unsigned long> launches{0};

decltype(&cuLaunchKernel) next() {
  static const auto function = reinterpret_cast<decltype(&cuLaunchKernel)>(::dlsym(RTLD_NEXT, "cuLaunchKernel"));
  return function;
}

}  // namespace

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters,
                        void** extra) {
  launches.fetch_add(1);
  return next()(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, parameters, extra);
}

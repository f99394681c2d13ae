// Somebody else's preloaded library: it stands before two functions of the driver, finds the next one in the usual way,
// and tells at the end how often it was passed through.
#include <cuda.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdio>

namespace {

std::atomic<unsigned> allocations{0}, launches{0};

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

struct Report {
  ~Report() { std::fprintf(stderr, "other: %u allocations, %u launches\n", allocations.load(), launches.load()); }
} report;

}  // namespace

extern "C" CUresult cuMemAlloc_v2(CUdeviceptr* base, std::size_t bytes) {
  ++allocations;
  return next<CUresult (*)(CUdeviceptr*, std::size_t)>("cuMemAlloc_v2")(base, bytes);
}

extern "C" CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                   CUstream stream, void** parameters, void** extra) {
  ++launches;
  return next<decltype(&cuLaunchKernel)>("cuLaunchKernel")(function, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                                                           shared_bytes, stream, parameters, extra);
}

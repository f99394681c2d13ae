// shim/real.h: the driver's own functions, callable as real::cuLaunchKernel(...).
//
// One word per row of hooks.def holds the driver's address. It starts at code that resolves the row at its first call
// (exports.S), because other libraries' constructors reach the driver before ours could run. A function the driver does
// not have answers CUDA_ERROR_NOT_FOUND: a state, never a crash. Handlers call real::, never ::cuX, which is our own
// export.
#pragma once
#ifndef __CUDA_API_VERSION_INTERNAL
#define __CUDA_API_VERSION_INTERNAL  // every revision and every per-thread twin, under its exported name
#endif
#include <cuda.h>
#include <cudaProfiler.h>

#include <atomic>

namespace lull {

template <typename Signature_>
class Function;

template <typename... Args>
class Function<CUresult(Args...)> {
 public:
  using Signature = CUresult(Args...);
  CUresult operator()(Args... args) const { return address()(args...); }
  Signature* address() const { return address_.load(std::memory_order_acquire); }  // may still be the resolving code

 private:
  std::atomic<Signature*> address_;  // stored with release by driver_address() (driver.cpp)
};

}  // namespace lull

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
namespace lull::real {
#define HOOK(symbol, ...) \
  [[gnu::visibility("hidden")]] extern Function<decltype(::symbol)> symbol asm("lull_real_" #symbol);
#include "shim/hooks.def"
#undef HOOK
}  // namespace lull::real
#pragma GCC diagnostic pop

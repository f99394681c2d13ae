// tests/bench/launch_probe.cpp: an ordinary program that launches, with the shim preloaded. launch_bench starts it.
//
// It calls the same function two ways: by the name every program uses, which the preloaded shim answers, and the null
// driver's own, by another name that the shim does not know. What differs is Lull.
//
//   time    alternates blocks of both, prints the nanoseconds a call of each costs, for every pair of blocks
//   step    makes one call of each between signals; the parent steps through it and counts
#include <cuda.h>
#include <sys/ptrace.h>
#include <time.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

extern "C" decltype(cuLaunchKernel) null_launch;

namespace {

constexpr int calls_a_block = 100'000, blocks = 400, steps = 5;
using Launch = decltype(&cuLaunchKernel);

// Not inlined, and through a pointer either way: both kinds run the very same loop.
[[gnu::noinline]] bool launch_often(Launch launch, int times) {
  void* parameters[] = {nullptr};
  unsigned failed = 0;
  for (int i = 0; i < times; ++i)
    failed |= static_cast<unsigned>(launch(nullptr, 64, 1, 1, 256, 1, 1, 0, nullptr, parameters, nullptr));
  return failed == 0;
}

std::int64_t now_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

double ns_a_call(Launch launch) {
  const std::int64_t began_ns = now_ns();
  if (!launch_often(launch, calls_a_block)) return -1;
  return static_cast<double>(now_ns() - began_ns) / calls_a_block;
}

void measure_time() {
  for (int i = 0; i < blocks; ++i) {
    const double through_shim = ns_a_call(&cuLaunchKernel);
    const double direct = ns_a_call(&null_launch);
    std::printf("%.4f %.4f\n", through_shim, direct);
  }
}

void measure_steps() {
  for (int i = 0; i < steps; ++i) {
    (void)std::raise(SIGTRAP);
    (void)launch_often(&cuLaunchKernel, 1);
    (void)std::raise(SIGTRAP);
    (void)launch_often(&null_launch, 1);
  }
  (void)std::raise(SIGTRAP);
}

bool make_context() {
  CUdevice device = 0;
  CUcontext context = nullptr;
  return cuInit(0) == CUDA_SUCCESS && cuDeviceGet(&device, 0) == CUDA_SUCCESS &&
         cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS && cuCtxSetCurrent(context) == CUDA_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  const bool stepping = argc > 1 && std::strcmp(argv[1], "step") == 0;
  // First calls resolve names and make this thread's entry.
  if (!make_context() || !launch_often(&cuLaunchKernel, 100) || !launch_often(&null_launch, 100)) return 1;
  if (stepping && ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 2;
  (void)std::getchar();  // the parent has seen us managed, with an open gate
  stepping ? measure_steps() : measure_time();
  return 0;
}

// A program linked with the driver: allocates, computes, and prints the sum of what it finds in its memory.
#include <cuda.h>

#include <cstdint>
#include <cstdio>
#include <numeric>
#include <vector>

namespace {

constexpr const char* text = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry twice(.param .u64 words)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<3>;
  ld.param.u64 %rd0, [words];
  mov.u32 %r0, %tid.x;
  mul.wide.u32 %rd1, %r0, 4;
  add.u64 %rd1, %rd0, %rd1;
  ld.global.u32 %r1, [%rd1];
  add.u32 %r1, %r1, %r1;
  st.global.u32 [%rd1], %r1;
  ret;
}
)";

int failed(const char* call, CUresult result) {
  std::printf("%s: error %d\n", call, result);
  return 1;
}
#define CALL(name, ...) \
  if (const CUresult result = name(__VA_ARGS__)) return failed(#name, result)

}  // namespace

int main() {
  constexpr unsigned count = 256;
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction twice = nullptr;
  CUdeviceptr words = 0, large = 0;
  std::vector<std::uint32_t> values(count);
  std::iota(values.begin(), values.end(), 1u);
  CALL(cuInit, 0);
  CALL(cuDeviceGet, &device, 0);
  CALL(cuDevicePrimaryCtxRetain, &context, device);
  CALL(cuCtxSetCurrent, context);
  CALL(cuModuleLoadData, &module, text);
  CALL(cuModuleGetFunction, &twice, module, "twice");
  CALL(cuMemAlloc, &words, count * sizeof values[0]);
  CALL(cuMemAlloc, &large, 64u << 20);
  CALL(cuMemcpyHtoD, words, values.data(), count * sizeof values[0]);
  void* arguments[] = {&words};
  for (int round = 0; round < 3; ++round)
    CALL(cuLaunchKernel, twice, 1, 1, 1, count, 1, 1, 0, nullptr, arguments, nullptr);
  CALL(cuMemcpyDtoH, values.data(), words, count * sizeof values[0]);
  CALL(cuMemFree, large);
  CALL(cuMemFree, words);
  std::printf("sum %u\n", std::accumulate(values.begin(), values.end(), 0u));
  return 0;
}

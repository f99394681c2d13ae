// What the bench of the simulated GPU runs on it:
//   simulator-probe copies                 page-locked copies both ways, from 4 KiB to 256 MiB
//   simulator-probe launches STREAMS N     N small kernels over so many streams; prints the seconds it took
// Exits 0 if every call succeeded and every byte and count is right.
#include <cuda.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr const char* text = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry count(.param .u64 at)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [at];
  mov.u32 %r1, 1;
  atom.global.add.u32 %r2, [%rd1], %r1;
  ret;
}
)";

void need(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "simulator-probe: %s answers %d\n", what, static_cast<int>(result));
  std::exit(1);
}
#define NEED(call) need(call, #call)

double now_s() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int copies() {
  constexpr std::size_t most = std::size_t{256} << 20;
  CUdeviceptr device = 0;
  void* host = nullptr;
  NEED(cuMemAlloc(&device, most));
  NEED(cuMemHostAlloc(&host, most, 0));
  for (std::size_t bytes = 4096; bytes <= most; bytes *= 4) {
    std::memset(host, static_cast<int>(bytes >> 12 & 0xff) + 1, bytes);
    NEED(cuMemcpyHtoD(device, host, bytes));
    std::memset(host, 0, bytes);
    NEED(cuMemcpyDtoH(host, device, bytes));
    const auto* seen = static_cast<const unsigned char*>(host);
    if (seen[0] != seen[bytes - 1] || seen[0] != static_cast<unsigned char>((bytes >> 12 & 0xff) + 1)) return 1;
  }
  return 0;
}

int launches(int stream_count, unsigned n) {
  CUmodule module = nullptr;
  CUfunction count = nullptr;
  CUdeviceptr at = 0;
  std::vector<CUstream> streams(static_cast<std::size_t>(stream_count));
  NEED(cuModuleLoadData(&module, text));
  NEED(cuModuleGetFunction(&count, module, "count"));
  NEED(cuMemAlloc(&at, 4));
  NEED(cuMemsetD32(at, 0, 1));
  for (CUstream& stream : streams) NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  NEED(cuCtxSynchronize());
  void* parameters[] = {&at};
  const double start = now_s();
  for (unsigned i = 0; i < n; ++i)
    NEED(cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 0, streams[i % streams.size()], parameters, nullptr));
  NEED(cuCtxSynchronize());
  const double seconds = now_s() - start;
  unsigned counted = 0;
  NEED(cuMemcpyDtoH(&counted, at, sizeof counted));
  std::printf("%.6f\n", seconds);
  return counted == n ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CUcontext context = nullptr;
  NEED(cuInit(0));
  NEED(cuDevicePrimaryCtxRetain(&context, 0));
  NEED(cuCtxSetCurrent(context));
  if (argc == 2 && std::string_view(argv[1]) == "copies") return copies();
  if (argc == 4 && std::string_view(argv[1]) == "launches")
    return launches(std::atoi(argv[2]), static_cast<unsigned>(std::atoi(argv[3])));
  std::fprintf(stderr, "usage: simulator-probe copies | launches STREAMS N\n");
  return 2;
}

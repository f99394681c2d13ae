#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tests/driver/card/clock.h"
#include "tests/driver/graph/graph_test.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

constexpr const char* launched_text = R"(
.version 6.3
.target sm_75
.address_size 64

// all blocks of the grid meet at counter; then each adds one to words[block]
.visible .entry meet(.param .u64 counter, .param .u64 words)
{
  .reg .pred %p<2>;
  .reg .b32 %r<4>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [counter];
  ld.param.u64 %rd2, [words];
  mov.u32 %r1, %nctaid.x;
  atom.global.add.u32 %r2, [%rd1], 1;
wait:
  ld.volatile.global.u32 %r2, [%rd1];
  setp.lt.u32 %p1, %r2, %r1;
  @%p1 bra wait;
  mov.u32 %r3, %ctaid.x;
  mul.wide.u32 %rd3, %r3, 4;
  add.s64 %rd4, %rd2, %rd3;
  st.global.u32 [%rd4], %r2;
  ret;
}

// lasts as many nanoseconds
.visible .entry last(.param .u64 wait)
{
  .reg .pred %p<2>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [wait];
  mov.u64 %rd2, %globaltimer;
again:
  mov.u64 %rd3, %globaltimer;
  sub.u64 %rd4, %rd3, %rd2;
  setp.lt.u64 %p1, %rd4, %rd1;
  @%p1 bra again;
  ret;
}
)";

CUfunction own_kernel(const char* name) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, launched_text));
  OK(cuModuleGetFunction(&function, module, name));
  return function;
}

CUresult launch_together(CUfunction f, unsigned blocks, unsigned threads, CUstream stream, void** parameters) {
  return cuLaunchCooperativeKernel(f, blocks, 1, 1, threads, 1, 1, 0, stream, parameters);
}

// Handles are used again by later cases, so those since a time.
std::vector<Record> of_this_process(Kind kind, CUfunction f, std::uint64_t since_ns) {
  auto records = journal(kind);
  std::erase_if(records, [&](const Record& r) {
    return r.start_ns < since_ns || r.pid != static_cast<std::uint32_t>(::getpid()) ||
           r.address != reinterpret_cast<std::uintptr_t>(f);
  });
  return records;
}

int last_for_a_while() {
  CUcontext context = nullptr;
  std::uint64_t wait = 400'000'000;
  void* parameters[] = {&wait};
  if (cuInit(0) != CUDA_SUCCESS || cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS) return 1;
  const CUfunction f = own_kernel("last");
  (void)std::puts("ready");
  (void)std::fflush(stdout);
  (void)std::getchar();
  OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  OK(cuCtxSynchronize());
  return 0;
}
const ChildRole last_role("last", last_for_a_while);

}  // namespace

TEST_CASE("the blocks of a cooperative launch are resident together and may wait for each other") {
  const TestContext context;
  Buffer counter, words;
  void* parameters[] = {&counter.at, &words.at};
  OK(launch_together(own_kernel("meet"), 8, 32, nullptr, parameters));
  OK(cuCtxSynchronize());
  CHECK_EQ(counter.word(), 8 * 32);
  CHECK(words.word() >= 8);
}

TEST_CASE("a cooperative launch of more blocks than the card holds is refused") {
  const TestContext context;
  Buffer counter, words;
  void* parameters[] = {&counter.at, &words.at};
  const CUfunction meet = own_kernel("meet");
  int blocks = 0, multiprocessors = 0;
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, meet, 64, 0));
  OK(cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
  REQUIRE(blocks > 0);
  const auto most = static_cast<unsigned>(blocks * multiprocessors);
  CHECK_EQ(launch_together(meet, most + 1, 64, nullptr, parameters), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  OK(launch_together(meet, most, 64, nullptr, parameters));
  OK(cuCtxSynchronize());
}

TEST_CASE("a cooperative launch by attribute is one, and several devices at once are not supported") {
  const TestContext context;
  Buffer counter, words;
  void* parameters[] = {&counter.at, &words.at};
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  CUlaunchConfig config{4, 1, 1, 1, 1, 1, 0, nullptr, &attribute, 1};
  OK(cuLaunchKernelEx(&config, own_kernel("meet"), parameters, nullptr));
  OK(cuCtxSynchronize());
  CHECK_EQ(counter.word(), 4);
  CUDA_LAUNCH_PARAMS list{};
  CHECK_EQ(cuLaunchCooperativeKernelMultiDevice(&list, 1, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuLaunchCooperativeKernelMultiDevice(nullptr, 1, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunchCooperativeKernelMultiDevice(&list, 9, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("launch attributes are hints, not supported, or wrong") {
  const TestContext context;
  Buffer buffer;
  std::uint32_t n = 1;
  void* parameters[] = {&buffer.at, &n};
  const CUfunction add_one = kernel("add_one");
  const auto with = [&](CUlaunchAttributeID id) {
    CUlaunchAttribute attribute{};
    attribute.id = id;
    attribute.value.clusterDim = {2, 1, 1};
    CUlaunchConfig config{1, 1, 1, 1, 1, 1, 0, nullptr, &attribute, 1};
    return cuLaunchKernelEx(&config, add_one, parameters, nullptr);
  };
  CHECK_EQ(with(CU_LAUNCH_ATTRIBUTE_IGNORE), CUDA_SUCCESS);
  CHECK_EQ(with(CU_LAUNCH_ATTRIBUTE_PRIORITY), CUDA_SUCCESS);
  CHECK_EQ(with(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(with(static_cast<CUlaunchAttributeID>(15)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunchKernelEx(nullptr, add_one, parameters, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUlaunchConfig config{1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, 1};
  CHECK_EQ(cuLaunchKernelEx(&config, add_one, parameters, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("launches of the old style take what was set on the function") {
  const TestContext context;
  Buffer buffer;
  const CUfunction add_one = kernel("add_one");
  OK(cuFuncSetBlockShape(add_one, 16, 1, 1));
  OK(cuFuncSetSharedSize(add_one, 64));
  OK(cuParamSetv(add_one, 0, &buffer.at, 8));
  OK(cuParamSeti(add_one, 8, 32));
  OK(cuParamSetSize(add_one, 12));
  OK(cuLaunchGrid(add_one, 2, 1));
  OK(cuLaunch(add_one));
  OK(cuCtxSynchronize());
  std::uint32_t words[32] = {};
  OK(cuMemcpyDtoH_v2(words, buffer.at, sizeof words));
  CHECK_EQ(words[0], 2);
  CHECK_EQ(words[31], 1);
  CHECK_EQ(cuFuncSetBlockShape(add_one, 0, 1, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuParamSeti(add_one, -4, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuParamSetv(add_one, 4090, &buffer.at, 8), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunchGrid(add_one, 0, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunch(nullptr), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("a launch copies its parameters when it is called") {
  const TestContext context;
  Buffer buffer, gate;
  const CUstream s = new_stream();
  CUdeviceptr at = buffer.at;
  std::uint32_t n = 1;
  OK(cuStreamWaitValue32_v2(s, gate.at, 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(launch(kernel("add_one"), 1, s, {&at, &n}));
  at = 0;
  n = 0;
  OK(cuStreamWriteValue32_v2(new_stream(), gate.at, 1, 0));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(buffer.word(), 1);
}

TEST_CASE("a kernel lasts as long as the timer tells it to") {
  const TestContext context;
  const std::uint64_t since_ns = now_ns();
  const CUfunction f = own_kernel("last");
  std::uint64_t wait = 20'000'000;
  void* parameters[] = {&wait};
  OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  OK(cuCtxSynchronize());
  const auto kernels = of_this_process(Kind::kernel, f, since_ns);
  REQUIRE_EQ(kernels.size(), 1);
  CHECK(kernels[0].end_ns - kernels[0].start_ns >= wait);
}

TEST_CASE("of kernels that wait those of streams with a higher priority go first") {
  const TestContext context;
  const std::uint64_t since_ns = now_ns();
  // Many of high priority, so that one of theirs waits at every time, however slowly their threads come back on a
  // machine with much else to do; the last is of low priority.
  constexpr int high = 8, kernels = 20;
  Buffer gate;
  CUstream streams[high + 1] = {};
  CUfunction functions[high + 1] = {};
  std::uint64_t wait = 1'000'000;
  void* parameters[] = {&wait};
  for (int s = 0; s <= high; ++s) {
    OK(cuStreamCreateWithPriority(&streams[s], CU_STREAM_NON_BLOCKING, s < high ? -5 : 0));
    functions[s] = own_kernel("last");
    OK(cuStreamWaitValue32_v2(streams[s], gate.at, 1, CU_STREAM_WAIT_VALUE_EQ));
    for (int i = 0; i < (s < high ? kernels / 4 : kernels); ++i)
      OK(cuLaunchKernel(functions[s], 1, 1, 1, 1, 1, 1, 0, streams[s], parameters, nullptr));
  }
  OK(cuStreamWriteValue32_v2(new_stream(), gate.at, 1, 0));
  OK(cuCtxSynchronize());
  std::uint64_t high_end_ns = 0;
  for (int s = 0; s < high; ++s) {
    for (const Record& r : of_this_process(Kind::kernel, functions[s], since_ns))
      high_end_ns = std::max(high_end_ns, r.end_ns);
  }
  const auto low = of_this_process(Kind::kernel, functions[high], since_ns);
  REQUIRE_EQ(low.size(), kernels);
  // Taken in turns all would be over by then.
  CHECK(std::ranges::count_if(low, [&](const Record& r) { return r.end_ns <= high_end_ns; }) <= kernels * 3 / 4);
}

TEST_CASE("a kernel that waits for another one gives way to it") {
  const TestContext context;
  Buffer flag;
  const CUstream a = new_stream(), b = new_stream();
  OK(launch(kernel("spin"), 1, a, {&flag.at}));
  std::uint32_t n = 1;
  OK(launch(kernel("add_one"), 1, b, {&flag.at, &n}));
  OK(cuCtxSynchronize());
}

TEST_CASE("two processes with long kernels get about half of the engine each") {
  Child a("last"), b("last");
  REQUIRE_EQ(a.line(), "ready");
  REQUIRE_EQ(b.line(), "ready");
  a.release();
  b.release();
  CHECK_EQ(a.wait(), 0);
  CHECK_EQ(b.wait(), 0);
  const auto slices = journal(Kind::slice);
  const auto range = [&](pid_t pid, bool first) {
    std::uint64_t found = first ? UINT64_MAX : 0;
    for (const Record& r : slices) {
      if (r.pid != static_cast<std::uint32_t>(pid)) continue;
      found = first ? std::min(found, r.start_ns) : std::max(found, r.end_ns);
    }
    return found;
  };
  const std::uint64_t from = std::max(range(a.pid, true), range(b.pid, true));
  const std::uint64_t to = std::min(range(a.pid, false), range(b.pid, false));
  REQUIRE(from < to);
  // Slices are counted: how long one lasts depends on what else the machine has to do.
  const auto slices_of = [&](pid_t pid) {
    return static_cast<double>(std::ranges::count_if(slices, [&](const Record& r) {
      return r.pid == static_cast<std::uint32_t>(pid) && r.start_ns >= from && r.end_ns <= to;
    }));
  };
  const double share = slices_of(a.pid) / (slices_of(a.pid) + slices_of(b.pid));
  CHECK(share > 0.35);
  CHECK(share < 0.65);
}

TEST_CASE("clusters are not supported, and asking for their size says so") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  CUlaunchConfig config{1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, 0};
  int size = 0;
  CHECK_EQ(cuOccupancyMaxPotentialClusterSize(&size, add_one, &config), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuOccupancyMaxActiveClusters(&size, add_one, &config), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuOccupancyMaxActiveClusters(nullptr, add_one, &config), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("occupancy goes by threads and shared memory") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  int small = 0, large = 0, grid = 0, block = 0;
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&small, add_one, 64, 0));
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&large, add_one, 1024, 0));
  CHECK(small > large);
  CHECK(large >= 1);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&large, add_one, 64, 1u << 30));
  CHECK_EQ(large, 0);
  OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, add_one, nullptr, 0, 100));
  CHECK(block <= 100);
  CHECK(grid >= 1);
  CHECK_EQ(cuOccupancyMaxActiveBlocksPerMultiprocessor(&small, add_one, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuOccupancyMaxActiveBlocksPerMultiprocessor(&small, nullptr, 64, 0), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("a launch that asks not to be programmatic is an ordinary one; one that asks to be is not supported here") {
  const TestContext context;
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = config.blockDimX = config.blockDimY = config.blockDimZ = 1;
  config.attrs = &attribute;
  config.numAttrs = 1;
  std::uint64_t wait = 0;
  void* parameters[] = {&wait};
  const CUfunction f = own_kernel("last");
  OK(cuLaunchKernelEx(&config, f, parameters, nullptr));
  attribute.value.programmaticStreamSerializationAllowed = 1;
  CHECK_EQ(cuLaunchKernelEx(&config, f, parameters, nullptr), CUDA_ERROR_NOT_SUPPORTED);
  OK(cuCtxSynchronize());
}

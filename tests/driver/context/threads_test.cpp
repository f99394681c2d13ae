// Several threads on one context, among them some that take it, or their streams, from under the others.
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

std::ptrdiff_t threads() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
}

// Seen many times in a row: it waits for something, and is not only between two steps.
bool asleep(int tid) {
  for (int i = 0; i < 50; ++i) {
    std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
    std::string text;
    std::getline(file, text);
    if (text.find(") S ") == std::string::npos) return false;
    std::this_thread::yield();
  }
  return true;
}

constexpr const char* with_variable =
    ".version 6.3\n.target sm_75\n.address_size 64\n.global .align 4 .u32 word = 7;\n.visible .entry k() { ret; }";

// Until the context has gone.
void work(CUcontext context, CUfunction add_one, unsigned stream_flags) {
  CUstream stream = nullptr;
  (void)cuCtxSetCurrent(context);
  (void)cuStreamCreate(&stream, stream_flags);
  std::uint32_t n = 1, back = 0;
  while (true) {
    CUdeviceptr d = 0;
    if (cuMemAlloc_v2(&d, 4) != CUDA_SUCCESS) return;
    (void)launch(add_one, 1, stream, {&d, &n});
    // The kernel's stream need not be ordered with the copy's.
    if (cuStreamSynchronize(stream) != CUDA_SUCCESS || cuMemcpyDtoH_v2(&back, d, 4) != CUDA_SUCCESS) return;
    if (cuMemFree_v2(d) != CUDA_SUCCESS) return;
  }
}

}  // namespace

TEST_CASE("threads that use a context while another destroys it are told so, and none waits for ever") {
  const std::size_t free_before = [] {
    const TestContext context;
    return free_bytes();
  }();
  for (int round = 0; round < 12; ++round) {
    CUcontext context = nullptr, popped = nullptr;
    OK(cuCtxCreate_v2(&context, 0, 0));
    const CUfunction add_one = kernel("add_one");
    OK(cuCtxPopCurrent_v2(&popped));
    std::vector<std::thread> users;
    for (unsigned i = 0; i < 3; ++i) users.emplace_back(work, context, add_one, i % 2);
    for (int i = 0; i < 200 * round; ++i) std::this_thread::yield();
    CHECK_EQ(cuCtxDestroy_v2(context), CUDA_SUCCESS);
    for (auto& user : users) user.join();
  }
  const TestContext context;
  CHECK_EQ(free_bytes(), free_before);
}

TEST_CASE("of two threads that destroy one context one is told that it has gone") {
  for (int round = 0; round < 40; ++round) {
    CUcontext context = nullptr, popped = nullptr;
    OK(cuCtxCreate_v2(&context, 0, 0));
    OK(cuCtxPopCurrent_v2(&popped));
    std::atomic<int> here{0}, destroyed{0}, refused{0};
    const auto destroy = [&] {
      ++here;
      while (here < 2) {
      }
      const CUresult result = cuCtxDestroy_v2(context);
      destroyed += result == CUDA_SUCCESS;
      refused += result == CUDA_ERROR_INVALID_CONTEXT;
    };
    std::thread other(destroy);
    destroy();
    other.join();
    REQUIRE_EQ(destroyed, 1);
    REQUIRE_EQ(refused, 1);
  }
}

TEST_CASE("the stream of a thread goes with the thread, when its work is done") {
  const TestContext context;
  constexpr std::uint32_t count = 60;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, count * 4));
  const auto before = threads();
  for (std::uint32_t i = 0; i < count; ++i) {
    std::thread([&] {
      OK(cuCtxSetCurrent(context.handle));
      OK(cuMemsetD32Async(d + 4 * i, i, 1, CU_STREAM_PER_THREAD));
    }).join();
  }
  std::uint32_t words[count] = {};
  OK(cuCtxSynchronize());
  OK(cuMemcpyDtoH_v2(words, d, sizeof words));
  for (std::uint32_t i = 0; i < count; ++i) CHECK_EQ(words[i], i);
  CHECK(eventually([&] { return threads() <= before + 2; }));
}

TEST_CASE("a synchronous copy waits for its own work, not for what another thread queues behind it") {
  const TestContext context;
  CUdeviceptr flags = 0;
  CUstream aside = nullptr;
  OK(cuMemAlloc_v2(&flags, 12));
  OK(cuMemsetD32_v2(flags, 0, 3));
  OK(cuStreamCreate(&aside, CU_STREAM_NON_BLOCKING));
  OK(cuCtxSynchronize());  // the zeros are there before anybody writes ones
  CUdeviceptr second = flags + 4, third = flags + 8;
  OK(launch(kernel("spin"), 1, nullptr, {&flags}));
  std::atomic<int> tid{0}, done{0};
  std::thread copier([&] {
    std::uint32_t word = 0;
    OK(cuCtxSetCurrent(context.handle));
    tid = static_cast<int>(::syscall(SYS_gettid));
    OK(cuMemcpyDtoH_v2(&word, third, 4));
    done = 1;
  });
  REQUIRE(eventually([&] { return tid != 0 && asleep(tid); }));
  OK(launch(kernel("spin"), 1, nullptr, {&second}));  // behind the copy
  OK(cuMemsetD32Async(flags, 1, 1, aside));
  CHECK(eventually([&] { return done == 1; }));
  OK(cuMemsetD32Async(second, 1, 1, aside));
  copier.join();
  OK(cuCtxSynchronize());
}

TEST_CASE("a primary context that is reset while threads work on it loses nothing and comes back whole") {
  CUcontext primary = nullptr;
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuCtxSetCurrent(primary));
  OK(cuCtxSynchronize());
  const std::size_t free_before = free_bytes();
  std::atomic<bool> stop{false};
  std::atomic<int> rounds{0};
  const auto use = [&] {
    (void)cuCtxSetCurrent(primary);
    while (!stop) {
      CUstream stream = nullptr;
      CUdeviceptr d = 0, pooled = 0;
      void* host = nullptr;
      (void)cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
      CUmodule module = nullptr;
      bool whole = cuModuleLoadData(&module, with_variable) == CUDA_SUCCESS && cuMemAlloc_v2(&d, MiB) == CUDA_SUCCESS;
      whole = whole && cuMemHostAlloc(&host, 4096, 0) == CUDA_SUCCESS;
      whole = whole && cuMemAllocAsync(&pooled, 4096, stream) == CUDA_SUCCESS;
      whole = whole && cuMemsetD8Async(d, 1, MiB, stream) == CUDA_SUCCESS;
      whole = whole && cuStreamSynchronize(stream) == CUDA_SUCCESS;
      // What a pool gave does not go with the context.
      while (pooled && cuMemFree_v2(pooled) == CUDA_ERROR_CONTEXT_IS_DESTROYED) std::this_thread::yield();
      if (host) (void)cuMemFreeHost(host);
      if (d) (void)cuMemFree_v2(d);
      if (module) (void)cuModuleUnload(module);
      (void)cuStreamDestroy_v2(stream);
      rounds += whole;
    }
  };
  std::vector<std::thread> users;
  for (int i = 0; i < 3; ++i) users.emplace_back(use);
  for (int i = 0; i < 25; ++i) {
    const int seen = rounds;
    OK(cuDevicePrimaryCtxReset_v2(0));
    CHECK(eventually([&] { return rounds > seen; }));  // it serves them as before
  }
  stop = true;
  for (auto& user : users) user.join();
  OK(cuDevicePrimaryCtxReset_v2(0));
  CUmemoryPool pool = nullptr;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuMemPoolTrimTo(pool, 0));
  CHECK_EQ(free_bytes(), free_before);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuCtxSetCurrent(nullptr));
}

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
    if (cuMemcpyDtoH_v2(&back, d, 4) != CUDA_SUCCESS || cuStreamSynchronize(stream) != CUDA_SUCCESS) return;
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
  OK(cuMemAlloc_v2(&flags, 8));
  OK(cuMemsetD32_v2(flags, 0, 2));
  OK(cuStreamCreate(&aside, CU_STREAM_NON_BLOCKING));
  OK(cuCtxSynchronize());  // the zeros are there before anybody writes ones
  CUdeviceptr second = flags + 4;
  OK(launch(kernel("spin"), 1, nullptr, {&flags}));
  std::atomic<int> tid{0}, done{0};
  std::thread copier([&] {
    std::uint32_t word = 0;
    OK(cuCtxSetCurrent(context.handle));
    tid = static_cast<int>(::syscall(SYS_gettid));
    OK(cuMemcpyDtoH_v2(&word, flags, 4));
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

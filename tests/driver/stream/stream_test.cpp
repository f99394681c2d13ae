#include <atomic>
#include <thread>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUstream stream(unsigned flags) {
  CUstream made = nullptr;
  OK(cuStreamCreate(&made, flags));
  return made;
}

// Page-locked words that kernels spin on and that stream operations write.
struct Words {
  Words() {
    void* p = nullptr;
    OK(cuMemHostAlloc(&p, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
    host = static_cast<std::uint32_t*>(p);
    for (int i = 0; i < 16; ++i) host[i] = 0;
  }
  ~Words() { (void)cuMemFreeHost(host); }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  CUdeviceptr at(int i) const { return reinterpret_cast<CUdeviceptr>(host + i); }
  std::uint32_t get(int i) const { return std::atomic_ref(host[i]).load(); }
  void set(int i, std::uint32_t value) const { std::atomic_ref(host[i]).store(value); }
  std::uint32_t* host = nullptr;
};

}  // namespace

TEST_CASE("work on one stream is done in the order it was given") {
  const TestContext context;
  std::vector<int> seen;
  struct Item {
    std::vector<int>* to;
    int number;
  };
  std::vector<Item> items;
  for (int i = 0; i < 100; ++i) items.push_back({&seen, i});
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  for (Item& item : items) {
    OK(cuLaunchHostFunc(
        s, [](void* p) { static_cast<Item*>(p)->to->push_back(static_cast<Item*>(p)->number); }, &item));
  }
  OK(cuStreamSynchronize(s));
  REQUIRE_EQ(seen.size(), 100);
  for (int i = 0; i < 100; ++i) CHECK_EQ(seen[static_cast<std::size_t>(i)], i);
  OK(cuStreamDestroy_v2(s));
}

TEST_CASE("the legacy stream waits for blocking streams and they for it; a non-blocking stream does neither") {
  const TestContext context;
  const Words words;
  const CUstream blocking = stream(CU_STREAM_DEFAULT), free_running = stream(CU_STREAM_NON_BLOCKING);
  OK(cuStreamWaitValue32_v2(blocking, words.at(0), 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuStreamWriteValue32_v2(nullptr, words.at(1), 1, 0));       // after the blocking stream's wait
  OK(cuStreamWriteValue32_v2(blocking, words.at(2), 1, 0));      // after the legacy stream's write
  OK(cuStreamWriteValue32_v2(free_running, words.at(3), 1, 0));  // after nothing
  CHECK(eventually([&] { return words.get(3) == 1; }));
  CHECK_EQ(words.get(1), 0);
  CHECK_EQ(words.get(2), 0);
  CHECK_EQ(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
  OK(cuStreamSynchronize(free_running));
  words.set(0, 1);
  OK(cuStreamSynchronize(blocking));
  CHECK_EQ(words.get(1), 1);
  CHECK_EQ(words.get(2), 1);
  OK(cuCtxSynchronize());
}

TEST_CASE("a synchronous copy waits for blocking streams and not for a non-blocking one") {
  const TestContext context;
  const Words words;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 4));
  const CUstream free_running = stream(CU_STREAM_NON_BLOCKING);
  OK(cuStreamWaitValue32_v2(free_running, words.at(0), 1, CU_STREAM_WAIT_VALUE_EQ));
  std::uint32_t word = 5;
  OK(cuMemcpyHtoD_v2(d, &word, 4));
  CHECK_EQ(cuStreamQuery(free_running), CUDA_ERROR_NOT_READY);
  words.set(0, 1);
  OK(cuStreamSynchronize(free_running));
}

TEST_CASE("a per-thread default stream is a blocking stream of its thread") {
  const TestContext context;
  const Words words;
  OK(cuStreamWaitValue32_v2_ptsz(nullptr, words.at(0), 1, CU_STREAM_WAIT_VALUE_EQ));  // stream 0 of this flavour
  CHECK_EQ(cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
  std::thread other([&] {
    OK(cuCtxSetCurrent(context.handle));
    CHECK_EQ(cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_SUCCESS);
    OK(cuStreamWriteValue32_v2(CU_STREAM_PER_THREAD, words.at(1), 1, 0));
    OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
  });
  other.join();
  CHECK_EQ(words.get(1), 1);
  OK(cuStreamWriteValue32_v2(CU_STREAM_LEGACY, words.at(2), 1, 0));  // ordered after it
  CHECK_EQ(words.get(2), 0);
  words.set(0, 1);
  OK(cuStreamSynchronize(CU_STREAM_LEGACY));
  CHECK_EQ(words.get(2), 1);
}

TEST_CASE("a wait refers to the record made before it, not to a later one") {
  const TestContext context;
  const Words words;
  const CUstream a = stream(CU_STREAM_NON_BLOCKING), b = stream(CU_STREAM_NON_BLOCKING);
  CUevent event = nullptr;
  OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  OK(cuEventRecord(event, a));
  OK(cuStreamWaitEvent(b, event, 0));
  OK(cuStreamWaitValue32_v2(a, words.at(0), 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuEventRecord(event, a));  // will not be reached yet
  OK(cuStreamWriteValue32_v2(b, words.at(1), 1, 0));
  OK(cuStreamSynchronize(b));
  CHECK_EQ(words.get(1), 1);
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  OK(cuStreamWaitEvent(b, event, 0));  // this one does refer to it
  OK(cuStreamWriteValue32_v2(b, words.at(2), 1, 0));
  CHECK_EQ(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  words.set(0, 1);
  OK(cuEventSynchronize(event));
  OK(cuStreamSynchronize(b));
  CHECK_EQ(words.get(2), 1);
  OK(cuEventDestroy_v2(event));
}

TEST_CASE("an event that was never recorded is over, and has no time") {
  const TestContext context;
  CUevent a = nullptr, b = nullptr, untimed = nullptr;
  OK(cuEventCreate(&a, 0));
  OK(cuEventCreate(&b, 0));
  OK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
  float ms = 0;
  CHECK_EQ(cuEventQuery(a), CUDA_SUCCESS);
  CHECK_EQ(cuEventElapsedTime_v2(&ms, a, b), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventRecord(a, nullptr));
  OK(cuEventRecord(untimed, nullptr));
  OK(cuCtxSynchronize());
  CHECK_EQ(cuEventElapsedTime_v2(&ms, a, untimed), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventDestroy_v2(a));
  CHECK_EQ(cuEventQuery(a), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("a stream takes about a thousand pieces of work, then the call waits") {
  const TestContext context;
  const Words words;
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  OK(cuStreamWaitValue32_v2(s, words.at(0), 1, CU_STREAM_WAIT_VALUE_EQ));
  std::atomic<int> given{0};
  std::thread giver([&] {
    OK(cuCtxSetCurrent(context.handle));
    for (int i = 0; i < 1500; ++i, ++given) OK(cuStreamWriteValue32_v2(s, words.at(1), static_cast<unsigned>(i), 0));
  });
  CHECK(eventually([&] { return given >= 1000; }));
  CHECK_EQ(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
  CHECK(given < 1100);
  words.set(0, 1);
  giver.join();
  OK(cuStreamSynchronize(s));
  CHECK_EQ(words.get(1), 1499);
}

TEST_CASE("a host function may not call the driver") {
  const TestContext context;
  CUresult result = CUDA_SUCCESS;
  OK(cuLaunchHostFunc(
      nullptr,
      [](void* p) {
        int count = 0;
        *static_cast<CUresult*>(p) = cuDeviceGetCount(&count);
      },
      &result));
  OK(cuStreamSynchronize(nullptr));
  CHECK_EQ(result, CUDA_ERROR_NOT_PERMITTED);
}

TEST_CASE("an endless kernel ends with its context") {
  const TestContext outer;
  const Words words;
  {
    const TestContext context;
    CUdeviceptr flag = words.at(0);
    OK(launch(kernel("spin"), 1, nullptr, {&flag}));
    CHECK_EQ(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
  }
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 16));
}

TEST_CASE("what the legacy stream has been given is proof of a drain for blocking streams") {
  const TestContext context;
  const Words words;
  const CUstream blocking = stream(CU_STREAM_DEFAULT);
  CUevent event = nullptr;
  OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  CUdeviceptr flag = words.at(0);
  OK(launch(kernel("spin"), 1, blocking, {&flag}));
  OK(cuEventRecord(event, CU_STREAM_LEGACY));
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  words.set(0, 1);
  OK(cuEventSynchronize(event));
  CHECK_EQ(cuStreamQuery(blocking), CUDA_SUCCESS);
}

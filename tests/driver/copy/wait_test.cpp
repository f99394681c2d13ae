// What waits for what: the synchronisation behaviour that the header's notes on copies and fills describe.
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

// A stream that does not get on until it is released: its own, or the default one.
class Blocked {
 public:
  enum class On { own_stream, default_stream };
  explicit Blocked(On on = On::own_stream) {
    OK(cuMemHostAlloc(&flag_, 4, 0));
    *static_cast<volatile std::uint32_t*>(flag_) = 0;
    if (on == On::own_stream) OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr at = reinterpret_cast<CUdeviceptr>(flag_);
    OK(launch(kernel("spin"), 1, stream, {&at}));
  }
  void release() const { *static_cast<volatile std::uint32_t*>(flag_) = 1; }
  bool still() const { return cuStreamQuery(stream) == CUDA_ERROR_NOT_READY; }
  CUstream stream = nullptr;

 private:
  void* flag_ = nullptr;
};
constexpr auto on_default = Blocked::On::default_stream;

// Calls from another thread; whether it comes back within a time while the stream is blocked. Then releases it.
template <class F>
bool comes_back(const Blocked& blocked, std::chrono::milliseconds within, F&& call) {
  CUcontext context = nullptr;
  OK(cuCtxGetCurrent(&context));
  std::atomic<bool> returned{false};
  std::thread caller([&] {
    OK(cuCtxSetCurrent(context));
    call();
    returned = true;
  });
  const auto limit = std::chrono::steady_clock::now() + within;
  while (!returned && std::chrono::steady_clock::now() < limit)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const bool back = returned && blocked.still();
  blocked.release();
  caller.join();
  return back;
}
// A call that does not wait gets all the time it needs on a busy machine; one that waits is not waited for.
template <class F>
bool returns_at_once(const Blocked& blocked, F&& call) {
  return comes_back(blocked, std::chrono::seconds(10), std::forward<F>(call));
}
template <class F>
bool waits(const Blocked& blocked, F&& call) {
  return !comes_back(blocked, std::chrono::milliseconds(50), std::forward<F>(call));
}

}  // namespace

TEST_CASE("an async copy from pageable memory has taken it when the call returns, up to 64 KiB without waiting") {
  const TestContext context;
  const CUdeviceptr d = allocate(64u << 10);
  const Blocked blocked;
  std::vector<std::uint8_t> pageable(64u << 10, 3);
  OK(cuMemcpyHtoDAsync_v2(d, pageable.data(), pageable.size(), blocked.stream));
  CHECK(blocked.still());
  std::memset(pageable.data(), 4, pageable.size());
  blocked.release();
  OK(cuStreamSynchronize(blocked.stream));
  OK(cuMemcpyDtoH_v2(pageable.data(), d, pageable.size()));
  CHECK_EQ(pageable.front(), 3);
  CHECK_EQ(pageable.back(), 3);
}

TEST_CASE("an async copy from page-locked memory reads it in the order of the stream") {
  const TestContext context;
  const CUdeviceptr d = allocate(4096);
  const Blocked blocked;
  void* pinned = nullptr;
  OK(cuMemHostAlloc(&pinned, 4096, 0));
  std::memset(pinned, 3, 4096);
  OK(cuMemcpyHtoDAsync_v2(d, pinned, 4096, blocked.stream));
  std::memset(pinned, 4, 4096);
  blocked.release();
  OK(cuStreamSynchronize(blocked.stream));
  std::uint8_t seen = 0;
  OK(cuMemcpyDtoH_v2(&seen, d, 1));
  CHECK_EQ(seen, 4);
}

TEST_CASE("registered memory is page-locked: copies of it do not wait") {
  const TestContext context;
  const CUdeviceptr d = allocate(4096);
  std::vector<char> host(4096, 3);
  OK(cuMemHostRegister_v2(host.data(), host.size(), 0));
  const Blocked blocked;
  CHECK(returns_at_once(blocked, [&] { OK(cuMemcpyDtoHAsync_v2(host.data(), d, host.size(), blocked.stream)); }));
  OK(cuStreamSynchronize(blocked.stream));
  OK(cuMemHostUnregister(host.data()));
}

TEST_CASE("an async copy to pageable memory returns when it is done") {
  const TestContext context;
  const CUdeviceptr d = allocate(4096);
  std::vector<char> host(4096);
  const Blocked blocked;
  CHECK(waits(blocked, [&] { OK(cuMemcpyDtoHAsync_v2(host.data(), d, host.size(), blocked.stream)); }));
}

TEST_CASE("an async copy from host to host memory returns when it is done") {
  const TestContext context;
  void *from = nullptr, *to = nullptr;
  OK(cuMemHostAlloc(&from, 4096, 0));
  OK(cuMemHostAlloc(&to, 4096, 0));
  const Blocked blocked;
  CHECK(waits(blocked, [&] {
    OK(cuMemcpyAsync(reinterpret_cast<CUdeviceptr>(to), reinterpret_cast<CUdeviceptr>(from), 4096, blocked.stream));
  }));
}

TEST_CASE("a copy within the device does not wait, whatever its form") {
  const TestContext context;
  const CUdeviceptr d = allocate(4096);
  const Blocked blocked(on_default);
  CHECK(returns_at_once(blocked, [&] {
    OK(cuMemcpyDtoD_v2(d, d + 2048, 2048));
    OK(cuMemcpy(d, d + 2048, 2048));
    OK(cuMemcpyDtoDAsync_v2(d, d + 2048, 2048, nullptr));
  }));
  OK(cuCtxSynchronize());
}

TEST_CASE("a copy without a stream waits for the default stream: to the host until done, from it until taken") {
  const TestContext context;
  const CUdeviceptr d = allocate(4096);
  std::uint32_t word = 1;
  {
    const Blocked blocked(on_default);
    CHECK(waits(blocked, [&] { OK(cuMemcpyDtoH_v2(&word, d, 4)); }));
  }
  const Blocked blocked(on_default);
  CHECK(waits(blocked, [&] { OK(cuMemcpyHtoD_v2(d, &word, 4)); }));
}

TEST_CASE("a memset of device memory does not wait, one of page-locked or managed memory does") {
  const TestContext context;
  const CUdeviceptr d = allocate(4096);
  void* pinned = nullptr;
  CUdeviceptr managed = 0;
  OK(cuMemHostAlloc(&pinned, 4096, 0));
  OK(cuMemAllocManaged(&managed, 4096, CU_MEM_ATTACH_GLOBAL));
  const auto fill = [](CUdeviceptr at) { OK(cuMemsetD8_v2(at, 1, 4096)); };
  {
    const Blocked blocked(on_default);
    CHECK(returns_at_once(blocked, [&] { fill(d); }));
    OK(cuCtxSynchronize());
  }
  for (const CUdeviceptr seen_by_host : {reinterpret_cast<CUdeviceptr>(pinned), managed}) {
    const Blocked blocked(on_default);
    CHECK(waits(blocked, [&] { fill(seen_by_host); }));
  }
  const Blocked blocked;
  CHECK(returns_at_once(blocked, [&] { OK(cuMemsetD8Async(managed, 1, 4096, blocked.stream)); }));
  OK(cuStreamSynchronize(blocked.stream));
}

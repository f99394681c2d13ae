// What cuMemAlloc and cuMemFree ask of the driver, call for call by its journal, and that a free still waits for work.
#include <atomic>
#include <thread>

#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

constexpr std::size_t chunk = 8 * mib;  // of a card of 512 MiB

CUdeviceptr allocated(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

}  // namespace

// The only call for each is the question which context is current: nobody but the driver knows that for certain.
TEST_CASE("small allocations cost the driver one question each, and frees in a row one wait") {
  (void)context();
  const CUdeviceptr first = allocated(1024), second = allocated(1024);
  OK(cuMemFree_v2(first));  // waits
  constexpr std::size_t times = 500;
  const std::size_t waits = calls("cuCtxSynchronize", false), before = own_calls();
  for (std::size_t i = 0; i < times; ++i) OK(cuMemFree_v2(allocated(1024)));
  CHECK(own_calls() - before == times);
  CHECK(calls("cuCtxSynchronize", false) == waits);
  OK(cuMemsetD8_v2(second, 1, 64));
  for (std::size_t i = 0; i < 10; ++i) OK(cuMemFree_v2(allocated(1024)));
  CHECK(calls("cuCtxSynchronize", false) == waits + 1);  // since something may run
  OK(cuMemFree_v2(second));
}

TEST_CASE("n chunks take no more than 1 + 3 n calls, and 1 + 2 n and the wait when they go back") {
  const CUdeviceptr kept = allocated(1024);
  for (const std::size_t n : {1, 2, 9}) {
    const std::size_t bytes = n == 1 ? chunk / 2 + mib : n * chunk, before = own_calls();
    const CUdeviceptr at = allocated(bytes);
    const std::size_t made = own_calls();
    CHECK(made - before <= 2 + 2 * n + (n + 7) / 8);  // the question again; eight are made accessible at once
    OK(cuMemFree_v2(at));
    CHECK(own_calls() - made <= 1 + 2 * n + 2);
  }
  OK(cuMemFree_v2(kept));
}

TEST_CASE("a free waits for what others have submitted since the last wait") {
  (void)context();
  const CUstream stream = make_stream();
  std::atomic<bool> idle{false}, busy{false}, freed{false}, let_go{false};
  std::thread worker([&] {
    OK(cuCtxSetCurrent(context()));
    const CUdeviceptr one = allocated(1024), other = allocated(1024);
    OK(cuMemFree_v2(one));  // finds the context idle
    idle = true;
    while (!busy) std::this_thread::yield();
    OK(cuMemFree_v2(other));
    freed = true;
  });
  CHECK(comes_true([&] { return idle.load(); }));
  const auto wait = [](void* flag) {
    while (!*static_cast<std::atomic<bool>*>(flag)) std::this_thread::yield();
  };
  OK(cuLaunchHostFunc(stream, wait, &let_go));
  busy = true;
  CHECK_FALSE(comes_true([&] { return freed.load(); }, 1));
  let_go = true;
  worker.join();
  CHECK(freed);
  OK(cuStreamDestroy_v2(stream));
}

}  // namespace lull::hazards

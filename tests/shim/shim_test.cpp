// The shim's core against the simulated driver and a broker moved by hand. One process, one GPU, one connection: the
// cases build on each other's process but leave the memory as they found it.
#define DOCTEST_CONFIG_IMPLEMENT
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <numeric>

#include "tests/shim/client.h"

using namespace lull;

FakeBroker* lull::broker = nullptr;

TEST_CASE("the first context attaches the process, and sizes are published") {
  CHECK(comes_true([] { return broker->attached(); }));
  CHECK(broker->up().needed.load() == 0);
  Buffer buffer(40 * mib);
  CHECK(broker->up().needed.load() == 40 * mib);
  CHECK(broker->up().resident.load() == 40 * mib);
}

TEST_CASE("memory moves to host and back at the same addresses, bit for bit") {
  Buffer large(70 * mib, 3), medium(5 * mib, 4), small(1000, 5), odd(6912, 6);
  for (Buffer* b : {&large, &medium, &small, &odd}) b->fill();
  broker->give_backing(128 * mib);
  REQUIRE(broker->evict_to(0));
  CHECK(broker->up().evicted_bytes.load() > 0);
  REQUIRE(broker->restore());
  for (Buffer* b : {&large, &medium, &small, &odd}) CHECK(b->intact());
}

TEST_CASE("only the deficit moves, to less than a chunk") {
  Buffer large(64 * mib);
  large.fill();
  const std::uint64_t before = broker->up().evicted_bytes.load();
  const std::uint64_t keep = broker->up().resident.load() - 20 * mib;
  REQUIRE(broker->evict_to(keep));
  const std::uint64_t moved = broker->up().evicted_bytes.load() - before;
  CHECK(moved >= 20 * mib);
  CHECK(moved < 20 * mib + 16 * mib);
  REQUIRE(broker->restore());
  CHECK(large.intact());
}

TEST_CASE("a restore that its quota ends is over: what has come back rests until there is more") {
  Buffer large(64 * mib);
  large.fill();
  REQUIRE(broker->evict_to(0));
  for (const std::uint64_t more : {40 * mib, 20 * mib}) {
    broker->quota(more);
    CHECK(comes_true([] { return broker->up().resident.load() > 0; }));
    CHECK(broker->reaches(Phase::drained));
    CHECK(broker->up().resident.load() <= more);
    REQUIRE(broker->evict_to(0));
  }
  REQUIRE(broker->restore());
  CHECK(large.intact());
}

TEST_CASE("a submission waits at the closed gate, says so, and goes through when it opens") {
  Buffer buffer(4 * mib);
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  const std::uint64_t wants = broker->up().wants.load();
  std::atomic<bool> done{false};
  CUcontext context;
  REQUIRE(cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  std::thread submitter([&] {
    (void)cuCtxSetCurrent(context);
    CHECK(cuMemsetD8_v2(buffer.at, 7, buffer.bytes) == CUDA_SUCCESS);
    done = true;
  });
  CHECK(comes_true([&] { return broker->up().wants.load() > wants; }));
  CHECK_FALSE(done);
  broker->gate(GateState::open);
  submitter.join();
  CHECK(broker->up().first_pass_ns.load() > 0);
}

TEST_CASE("queries, synchronisation, allocation and frees never wait at a closed gate") {
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  {
    Buffer buffer(3 * mib);
    std::size_t free_bytes, total;
    CHECK(cuMemGetInfo_v2(&free_bytes, &total) == CUDA_SUCCESS);
    CHECK(cuStreamQuery(nullptr) == CUDA_SUCCESS);
    CHECK(cuCtxSynchronize() == CUDA_SUCCESS);
  }
  broker->gate(GateState::open);
}

TEST_CASE("growth beyond the quota returns at once and holds submissions until the quota follows") {
  broker->quota(broker->up().resident.load());
  REQUIRE(comes_true([] { return broker->up().seen_quota_plus_1.load() == broker->up().resident.load() + 1; }));
  Buffer grown(8 * mib, 9);
  CHECK(broker->up().needed.load() == broker->up().resident.load() + 8 * mib);
  std::atomic<bool> done{false};
  CUcontext context;
  REQUIRE(cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  std::thread submitter([&] {
    (void)cuCtxSetCurrent(context);
    grown.fill();
    done = true;
  });
  broker->quota(broker->up().needed.load() - mib);  // not enough
  CHECK(comes_true([] { return broker->up().seen_quota_plus_1.load() == broker->up().needed.load() - mib + 1; }));
  CHECK_FALSE(done);
  broker->quota(~0ull >> 1);
  submitter.join();
  CHECK(grown.intact());
}

TEST_CASE("memory freed while it is evicted is gone from the books, and the rest comes back") {
  auto doomed = std::make_unique<Buffer>(20 * mib, 1);
  Buffer kept(20 * mib, 2);
  doomed->fill();
  kept.fill();
  REQUIRE(broker->evict_to(0));
  const std::uint64_t needed = broker->up().needed.load();
  doomed.reset();
  CHECK(broker->up().needed.load() == needed - 20 * mib);
  REQUIRE(broker->restore());
  CHECK(kept.intact());
}

TEST_CASE("an eviction without a place to go keeps the memory where it is and says why") {
  std::size_t free_bytes, total;
  REQUIRE(cuMemGetInfo_v2(&free_bytes, &total) == CUDA_SUCCESS);
  Buffer buffer(160 * mib, 8);  // more than the backing given so far
  buffer.fill();
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  broker->quota(0);
  CHECK(comes_true([] { return broker->phase().reason == Overdue::no_backing; }));
  broker->give_backing(64 * mib);
  CHECK(comes_true([] { return broker->up().resident.load() == 0; }));
  REQUIRE(broker->restore());
  CHECK(buffer.intact());
}

TEST_CASE("an allocation that has no place to be evicted to is refused where somebody is watching") {
  broker->admit(broker->up().needed.load() + 10 * mib);
  CUdeviceptr at = 0;
  CHECK(cuMemAlloc_v2(&at, 30 * mib) == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(broker->up().refused_bytes.load() == 30 * mib);
  broker->admit(~0ull >> 1);
  Buffer buffer(30 * mib);
}

TEST_CASE("pointer queries answer for the allocation, resident or not") {
  Buffer large(40 * mib), small(1000);
  REQUIRE(broker->evict_to(0));
  for (const Buffer* b : {&large, &small}) {
    CUdeviceptr base = 0;
    std::size_t bytes = 0;
    CHECK(cuMemGetAddressRange_v2(&base, &bytes, b->at + b->bytes / 2) == CUDA_SUCCESS);
    CHECK(base == b->at);
    CHECK(bytes == b->bytes);
    int mapped = 0;
    CHECK(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, b->at) == CUDA_SUCCESS);
    CHECK(mapped == 1);
    CUmemGenericAllocationHandle handle;
    CHECK(cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(b->at)) == CUDA_ERROR_INVALID_VALUE);
  }
  REQUIRE(broker->restore());
}

TEST_CASE("free memory depends on this process's own use alone, and the total never changes") {
  std::size_t free_before, total_before, free_now, total_now;
  REQUIRE(cuMemGetInfo_v2(&free_before, &total_before) == CUDA_SUCCESS);
  REQUIRE(broker->evict_to(0));
  REQUIRE(cuMemGetInfo_v2(&free_now, &total_now) == CUDA_SUCCESS);
  CHECK(free_now == free_before);
  CHECK(total_now == total_before);
  REQUIRE(broker->restore());
  Buffer buffer(32 * mib);
  REQUIRE(cuMemGetInfo_v2(&free_now, &total_now) == CUDA_SUCCESS);
  CHECK(free_before - free_now == 32 * mib);
}

TEST_CASE("ten thousand small allocations share their chunks") {
  const std::uint64_t before = broker->up().needed.load();
  std::vector<CUdeviceptr> small(10000);
  for (auto& at : small) REQUIRE(cuMemAlloc_v2(&at, 1024) == CUDA_SUCCESS);
  CHECK(broker->up().needed.load() - before <= 32 * mib);
  for (const auto at : small) {
    CHECK(at % 512 == 0);
    REQUIRE(cuMemFree_v2(at) == CUDA_SUCCESS);
  }
  CHECK(broker->up().needed.load() == before);
}

TEST_CASE("the whole promised memory can be taken, and a byte more cannot") {
  std::size_t free_bytes, total;
  REQUIRE(cuMemGetInfo_v2(&free_bytes, &total) == CUDA_SUCCESS);
  broker->quota(0);  // nothing of it need be resident
  {
    Buffer all(free_bytes / (2 * mib) * (2 * mib));
    CUdeviceptr at = 0;
    CHECK(cuMemAlloc_v2(&at, 70 * mib) == CUDA_ERROR_OUT_OF_MEMORY);
  }
  Buffer again(70 * mib);  // as allocators do: what they have cached is given back, then they ask again
  broker->quota(~0ull >> 1);
}

TEST_CASE("an open capture postpones the drain and is not broken by it") {
  CUstream stream;
  REQUIRE(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
  REQUIRE(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
  broker->gate(GateState::closed);
  CHECK(broker->reaches(Phase::draining));
  CHECK(comes_true([] { return broker->phase().reason == Overdue::capture_open; }));
  CUgraph graph = nullptr;
  CHECK(cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS);
  CHECK(broker->reaches(Phase::drained));
  broker->gate(GateState::open);
  if (graph) CHECK(cuGraphDestroy(graph) == CUDA_SUCCESS);
  CHECK(cuStreamDestroy_v2(stream) == CUDA_SUCCESS);
}

TEST_CASE("memory freed while a capture is open stays until the capture has ended") {
  CUstream stream;
  REQUIRE(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
  CUdeviceptr at = 0;
  REQUIRE(cuMemAlloc_v2(&at, 20 * mib) == CUDA_SUCCESS);
  const std::uint64_t needed = broker->up().needed.load();
  REQUIRE(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS);
  CHECK(cuMemFree_v2(at) == CUDA_SUCCESS);
  CHECK(cuMemFree_v2(at) != CUDA_SUCCESS);
  CHECK(broker->up().needed.load() == needed);
  CUgraph graph = nullptr;
  CHECK(cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS);
  CHECK(comes_true([&] { return broker->up().needed.load() == needed - 20 * mib; }));
  if (graph) CHECK(cuGraphDestroy(graph) == CUDA_SUCCESS);
  CHECK(cuStreamDestroy_v2(stream) == CUDA_SUCCESS);
}

TEST_CASE("an end of capture that fails leaves the count of open captures alone") {
  CUstream capturing, other;
  REQUIRE(cuStreamCreate(&capturing, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
  REQUIRE(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
  REQUIRE(cuStreamBeginCapture_v2(capturing, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS);
  CUgraph graph = nullptr;
  CHECK(cuStreamEndCapture(other, &graph) != CUDA_SUCCESS);
  broker->gate(GateState::closed);
  CHECK(comes_true([] { return broker->phase().reason == Overdue::capture_open; }));
  CHECK(cuStreamDestroy_v2(capturing) == CUDA_SUCCESS);  // takes its capture with it
  CHECK(broker->reaches(Phase::drained));
  broker->gate(GateState::open);
  CHECK(cuStreamDestroy_v2(other) == CUDA_SUCCESS);
}

TEST_CASE("a context that is reset takes its memory along, and the next one is drained afresh") {
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  broker->gate(GateState::open);
  CUdeviceptr lost = 0;
  REQUIRE(cuMemAlloc_v2(&lost, 20 * mib) == CUDA_SUCCESS);
  REQUIRE(cuDevicePrimaryCtxReset_v2(0) == CUDA_SUCCESS);
  CHECK(broker->up().needed.load() == 0);
  CUcontext context;
  REQUIRE(cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
  REQUIRE(cuCtxSetCurrent(context) == CUDA_SUCCESS);
  Buffer buffer(20 * mib, 12);
  buffer.fill();
  REQUIRE(broker->evict_to(0));
  REQUIRE(broker->restore());
  CHECK(buffer.intact());
}

TEST_CASE("a forked child never waits at the gate and has no part in it") {
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  const std::uint64_t wants = broker->up().wants.load();
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);  // a child that waits for ever must not hang the suite
    CUdeviceptr at = 0;
    const bool refused = cuMemAlloc_v2(&at, mib) != CUDA_SUCCESS;  // CUDA does not work in a child, and says so at once
    (void)cuMemsetD8_v2(at, 0, 16);
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(broker->up().wants.load() == wants);
  broker->gate(GateState::open);
}

TEST_CASE("a signal with a handler that arrives behind the gate is reported") {
  static std::atomic<int> handled{0};
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) { ++handled; };
  REQUIRE(::sigaction(SIGTERM, &action, &before) == 0);
  Buffer buffer(mib);
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  CUcontext context;
  REQUIRE(cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  const std::uint64_t wants = broker->up().wants.load(), interrupted = broker->up().interrupted.load();
  std::thread submitter([&] {
    (void)cuCtxSetCurrent(context);
    (void)cuMemsetD8_v2(buffer.at, 1, 16);
  });
  REQUIRE(comes_true([&] { return broker->up().wants.load() > wants; }));
  // Until it arrives while the thread really waits.
  CHECK(comes_true([&] {
    (void)::pthread_kill(submitter.native_handle(), SIGTERM);
    return broker->up().interrupted.load() > interrupted;
  }));
  CHECK(handled > 0);
  broker->gate(GateState::open);
  submitter.join();
  REQUIRE(::sigaction(SIGTERM, &before, nullptr) == 0);
}

TEST_CASE("no submission ever meets memory that is not there, whatever gate and quota do") {
  Buffer buffer(48 * mib, 11);
  buffer.fill();
  CUcontext context;
  REQUIRE(cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> launches{0};
  std::vector<std::thread> submitters;
  for (int i = 0; i < 4; ++i)
    submitters.emplace_back([&, i] {
      (void)cuCtxSetCurrent(context);
      CUstream stream;
      REQUIRE(cuStreamCreate(&stream, i % 2 ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT) == CUDA_SUCCESS);
      const CUdeviceptr mine = buffer.at + i * 12 * mib;
      while (!stop) {
        REQUIRE(cuMemsetD32Async(mine, 0x5a5a5a5a, 1024, stream) == CUDA_SUCCESS);
        ++launches;
      }
      REQUIRE(cuStreamSynchronize(stream) == CUDA_SUCCESS);
      REQUIRE(cuStreamDestroy_v2(stream) == CUDA_SUCCESS);
    });
  for (int cycle = 0; cycle < 40; ++cycle) {
    const auto before = launches.load();
    REQUIRE(comes_true([&] { return launches > before; }));
    REQUIRE(broker->evict_to(cycle % 2 ? 0 : 24 * mib));
    if (cycle % 3 == 0) broker->gate(GateState::open);  // the hold alone keeps everybody out now
    REQUIRE(broker->restore());
  }
  stop = true;
  for (auto& thread : submitters) thread.join();
  CHECK(cuCtxSynchronize() == CUDA_SUCCESS);
}

int main(int argc, char** argv) {
  doctest::Context doctest(argc, argv);
  // A card of this run's own, gone with it.
  const std::string card = "/dev/shm/lull-shim-test-" + std::to_string(::getpid());
  (void)::setenv("LULL_SIM_POOL", card.c_str(), 1);
  FakeBroker the_broker;
  broker = &the_broker;
  CUdevice device;
  CUcontext context;
  if (cuInit(0) != CUDA_SUCCESS || cuDeviceGet(&device, 0) != CUDA_SUCCESS ||
      cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS || cuCtxSetCurrent(context) != CUDA_SUCCESS) {
    std::fprintf(stderr, "no driver: run with LD_LIBRARY_PATH naming the simulated one\n");
    return 1;
  }
  const int result = doctest.run();
  (void)::unlink(card.c_str());
  return result;
}

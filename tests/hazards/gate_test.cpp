// Hazards 1, 2, 10, 16, 18 and 19: what passes the gate, what does not, and what is not there meanwhile.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

CUdeviceptr allocate(std::size_t bytes) {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

CUstream make_stream() {
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  return stream;
}

void close_gate() {
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "an idle process is drained at once");
}

// A thread of the program. Joined by name only: a case that fails ends the process.
class Worker {
 public:
  template <class Work>
  explicit Worker(Work work) : done_(std::make_shared<std::atomic<bool>>(false)) {
    std::thread([work, done = done_, current = context()] {
      OK(cuCtxSetCurrent(current));
      work();
      *done = true;
    }).detach();
  }
  bool done() const { return *done_; }

 private:
  std::shared_ptr<std::atomic<bool>> done_;
};

std::uint64_t now_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

TEST_CASE("hazard 1: a launch that is inside the driver when the gate closes is waited for") {
  broker().give_backing(16 * mib);
  const CUdeviceptr memory = allocate(4 * mib);
  fill(memory, 4 * mib, 6);
  const std::uint64_t before = broker().up().submissions.load();
  const Worker worker([&] {  // the driver takes two seconds over it (hazards.py)
    OK(cuMemsetD16Async(memory, 6, mib, nullptr));
    demand(cuCtxSynchronize() == CUDA_SUCCESS, "every launch finds its memory");
  });
  demand(comes_true([&] { return broker().up().submissions.load() > before; }), "the launch is inside");
  demand(broker().evict_to(0), "the memory leaves");
  demand(comes_true([&] { return worker.done(); }), "every thread comes to its end");
  demand(broker().restore(), "the memory comes back");
  OK(cuMemFree_v2(memory));
}

TEST_CASE("hazard 2: a drain behind a wait that nobody ends gives up, and the program goes on") {
  (void)context();
  unsigned* flag = nullptr;
  CUdeviceptr flag_at = 0;
  OK(cuMemHostAlloc(reinterpret_cast<void**>(&flag), 4096, CU_MEMHOSTALLOC_DEVICEMAP));
  OK(cuMemHostGetDevicePointer_v2(&flag_at, flag, 0));
  *flag = 0;
  const CUdeviceptr memory = allocate(8 * mib);
  fill(memory, 8 * mib, 1);
  const CUstream stream = make_stream();
  OK(cuStreamWaitValue32_v2(stream, flag_at, 1, CU_STREAM_WAIT_VALUE_GEQ));
  broker().gate(GateState::closed);
  broker().quota(0);
  demand(comes_true(
             [] {
               return broker().phase() == PhaseWord{broker().generation(), Phase::overdue, Overdue::stream_busy};
             },
             7),
         "the broker is told that a stream is busy");
  demand(broker().up().resident.load() == 8 * mib, "nothing has been unmapped");
  broker().quota(~0ull >> 1);
  broker().gate(GateState::open);
  OK(cuMemsetD32Async(memory, 7, 2 * mib, stream));
  __atomic_store_n(flag, 1u, __ATOMIC_RELEASE);
  OK(cuStreamSynchronize(stream));
  unsigned word = 0;
  OK(cuMemcpyDtoH_v2(&word, memory, 4));
  demand(word == 7, "the program finishes its work");
  OK(cuStreamDestroy_v2(stream));
  OK(cuMemFree_v2(memory));
  OK(cuMemFreeHost(flag));
}

TEST_CASE("hazard 2: a drain behind a stream that the shim has never heard of gives up too") {
  (void)context();
  unsigned* flag = nullptr;
  CUdeviceptr flag_at = 0;
  OK(cuMemHostAlloc(reinterpret_cast<void**>(&flag), 4096, CU_MEMHOSTALLOC_DEVICEMAP));
  OK(cuMemHostGetDevicePointer_v2(&flag_at, flag, 0));
  *flag = 0;
  broker().give_backing(16 * mib);
  const CUdeviceptr memory = allocate(8 * mib);
  const auto create = reinterpret_cast<decltype(&cuStreamCreate)>(behind_the_shim("cuStreamCreate"));
  CUstream unseen = nullptr;
  OK(create(&unseen, CU_STREAM_NON_BLOCKING));
  OK(cuStreamWaitValue32_v2(unseen, flag_at, 1, CU_STREAM_WAIT_VALUE_GEQ));
  broker().gate(GateState::closed);
  broker().quota(0);
  demand(comes_true(
             [] {
               return broker().phase() == PhaseWord{broker().generation(), Phase::overdue, Overdue::stream_busy};
             },
             7),
         "the broker is told that a stream is busy");
  demand(broker().up().resident.load() == 8 * mib, "nothing has been unmapped");
  broker().quota(~0ull >> 1);
  broker().gate(GateState::open);
  __atomic_store_n(flag, 1u, __ATOMIC_RELEASE);
  OK(cuStreamSynchronize(unseen));
  demand(broker().evict_to(0), "with the stream idle the memory leaves");
  demand(broker().restore(), "the memory comes back");
  OK(cuStreamDestroy_v2(unseen));
  OK(cuMemFree_v2(memory));
  OK(cuMemFreeHost(flag));
}

TEST_CASE("hazard 2: a drain puts nothing in front of the work that a stream waits for") {
  (void)context();
  const CUdeviceptr flag = allocate(4096);
  OK(cuMemsetD32_v2(flag, 0, 1));
  CUstream waits = nullptr, writes = nullptr;
  OK(cuStreamCreate(&waits, CU_STREAM_DEFAULT));
  OK(cuStreamCreate(&writes, CU_STREAM_DEFAULT));
  OK(cuStreamWaitValue32_v2(waits, flag, 1, CU_STREAM_WAIT_VALUE_GEQ));
  broker().gate(GateState::closed);
  demand(comes_true([] { return broker().reached(Phase::overdue); }, 7), "the broker is told that a stream is busy");
  broker().gate(GateState::open);
  OK(cuStreamWriteValue32_v2(writes, flag, 1, CU_STREAM_WRITE_VALUE_DEFAULT));
  demand(comes_true([&] { return cuStreamQuery(waits) == CUDA_SUCCESS; }, 7),
         "the wait is over once the value is there");
  OK(cuStreamDestroy_v2(waits));
  OK(cuStreamDestroy_v2(writes));
  OK(cuMemFree_v2(flag));
}

TEST_CASE("hazard 2: no more work is queued than the limit allows, and the drain is as short") {
  (void)context();
  static std::atomic<unsigned> finished{0};
  const CUhostFn takes_2_ms = [](void*) {
    ::usleep(2000);
    ++finished;
  };
  const CUstream stream = make_stream();
  broker().limit(20'000);
  for (unsigned i = 0; i < 2; ++i) {  // then the shim has read it
    broker().gate(GateState::open);
    demand(broker().reaches(Phase::running), "the gate opens");
  }
  unsigned most = 0;
  for (unsigned launched = 1; launched <= 300; ++launched) {
    OK(cuLaunchHostFunc(stream, takes_2_ms, nullptr));
    most = std::max(most, launched - finished);
  }
  demand(most <= 20, "no more work is queued than the limit allows");
  const unsigned at_close = finished;
  close_gate();
  demand(finished == 300 && finished - at_close <= 20, "the drain is as short as the limit");
  broker().limit(0);
  broker().gate(GateState::open);
  OK(cuStreamDestroy_v2(stream));
}

TEST_CASE("hazard 10: a paused program allocates and frees a thousand times without waiting") {
  broker().give_backing(64 * mib);
  const CUdeviceptr before = allocate(4 * mib);
  fill(before, 4 * mib, 2);
  demand(broker().evict_to(0), "the memory leaves");
  CUdeviceptr kept = 0;
  const Worker worker([&] {
    for (unsigned i = 0; i < 1000; ++i) {
      const CUdeviceptr at = allocate(i % 4 ? 1000 + i : 3 * mib);
      OK(cuMemFree_v2(at));
    }
    kept = allocate(6 * mib);
  });
  demand(comes_true([&] { return worker.done(); }, 4), "allocation does not wait at a closed gate");
  demand(broker().up().resident.load() == 0, "a paused program takes no device memory");
  demand(broker().restore(), "the memory comes back");
  fill(kept, 6 * mib, 3);
  demand(intact(kept, 6 * mib, 3) && intact(before, 4 * mib, 2), "what was allocated meanwhile is there at the resume");
  OK(cuMemFree_v2(kept));
  OK(cuMemFree_v2(before));
}

TEST_CASE("hazard 16: a restore that finds no room is tried again, and nothing is submitted before it is done") {
  broker().give_backing(64 * mib);
  const CUdeviceptr memory = allocate(32 * mib);
  fill(memory, 32 * mib, 4);
  demand(broker().evict_to(0), "the memory leaves");
  Program neighbour(role("take-all"), Preload::no);
  demand(neighbour.line() == "taken", "a neighbour takes the card");
  broker().quota(~0ull >> 1);
  broker().gate(GateState::open);
  demand(comes_true([] { return broker().phase().reason == Overdue::no_device_memory; }),
         "the broker is told that there is no room");
  const Worker worker([&] {
    OK(cuMemsetD32_v2(memory, 5, 1024));
    demand(cuCtxSynchronize() == CUDA_SUCCESS, "a submission waits for memory that is missing");
  });
  demand(!comes_true([&] { return worker.done(); }, 1), "a submission waits for memory that is missing");
  neighbour.release();
  demand(neighbour.wait(10) == 0, "the neighbour ends");
  demand(comes_true([&] { return worker.done(); }), "the submission goes through when there is room");
  std::vector<std::uint32_t> words(8 * mib);
  OK(cuMemcpyDtoH_v2(words.data(), memory, 32 * mib));
  const auto right = pattern(32 * mib, 4);
  demand(words[0] == 5 && std::equal(words.begin() + 1024, words.end(), right.begin() + 1024),
         "the content is the same after the move");
  OK(cuMemFree_v2(memory));
}

TEST_CASE("hazard 18: a gate that closes between two timed events lets the work between them pass") {
  const CUdeviceptr memory = allocate(mib);
  CUevent first = nullptr, second = nullptr;
  OK(cuEventCreate(&first, CU_EVENT_DEFAULT));
  OK(cuEventCreate(&second, CU_EVENT_DEFAULT));
  // The promise is for 20 ms, and this machine may be slower: it counts what was quick enough.
  unsigned quick = 0, undisturbed = 0;
  for (unsigned i = 0; i < 300 && quick < 10; ++i) {
    const std::uint64_t wants = broker().up().wants.load();
    const std::uint64_t began = now_ns();
    OK(cuEventRecord(first, nullptr));
    broker().gate(GateState::closed);
    std::atomic<bool> passed{false};
    std::thread reopen([&] {  // without the protection the launch would wait for ever
      (void)comes_true([&] { return passed || broker().up().wants.load() > wants; });
      if (!passed) broker().gate(GateState::open);
    });
    OK(cuMemsetD8Async(memory, 1, 64, nullptr));
    OK(cuEventRecord(second, nullptr));
    passed = true;
    const bool in_time = now_ns() - began < 15'000'000;
    reopen.join();
    quick += in_time;
    undisturbed += in_time && broker().up().wants.load() == wants;
    broker().gate(GateState::open);
    demand(broker().reaches(Phase::running), "the gate opens");
  }
  demand(quick >= 10, "the machine is quick enough to see it");
  demand(undisturbed == quick, "no pause falls between two timed events");
  OK(cuEventRecord(first, nullptr));  // and one that never finds its pair
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "a pair that stays open puts the drain off, not away");
  broker().gate(GateState::open);
  OK(cuEventDestroy_v2(first));
  OK(cuEventDestroy_v2(second));
  OK(cuMemFree_v2(memory));
}

TEST_CASE("hazard 19: a watchdog's queries are answered at once while the program is paused") {
  (void)context();
  CUevent event = nullptr;
  OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  OK(cuEventRecord(event, nullptr));
  const CUstream stream = make_stream();
  OK(cuCtxSynchronize());
  close_gate();
  const Worker watchdog([&] {
    for (unsigned i = 0; i < 1000; ++i) {
      OK(cuEventQuery(event));
      OK(cuStreamQuery(stream));
      OK(cuEventSynchronize(event));
      OK(cuStreamSynchronize(stream));
    }
    OK(cuCtxSynchronize());
  });
  demand(comes_true([&] { return watchdog.done(); }, 4), "queries do not wait at a closed gate");
  demand(broker().up().wants.load() == 0, "queries are no demand");
  broker().gate(GateState::open);
  OK(cuEventDestroy_v2(event));
  OK(cuStreamDestroy_v2(stream));
}

}  // namespace lull::hazards

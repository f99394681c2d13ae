// Host functions, which a stream calls, and threads of the program that wait at a closed gate meanwhile.
#include <sys/wait.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

struct Shared {
  std::mutex mutex;
  std::atomic<bool> begun{false}, finished{false};
};

void take_lock(void* data) {
  auto& shared = *static_cast<Shared*>(data);
  shared.begun = true;
  const std::scoped_lock lock(shared.mutex);
  shared.finished = true;
}

}  // namespace

TEST_CASE("a host function that needs Python's lock gets it while a thread with that lock waits at the gate") {
  OtherBroker broker;
  Program python({"python3", "-I", std::string(LULL_LIFE_SOURCE) + "/host_function.py"}, Preload::yes);
  demand(python.byte() == 'c', "the host function runs");
  demand(comes_true([&] { return broker->attached(); }), "the program is managed");
  broker->gate(GateState::closed);
  demand(comes_true([&] { return broker->up().seen_gate.load() >> 2 == broker->generation(); }), "the gate is closed");
  python.release();
  demand(broker->reaches(Phase::drained), "the host function ends behind the closed gate");
  broker->gate(GateState::open);
  const int status = python.wait(10);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

// Nobody can know of such a lock. The drain ends at its deadline, says what it waits for, and the gate opens again.
TEST_CASE(
    "a host function that needs a lock which a thread at the gate holds is a drain that is overdue, not a deadlock") {
  (void)context();
  CUdeviceptr memory = 0;
  CUstream stream = nullptr;
  OK(cuMemAlloc_v2(&memory, 1 * mib));
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  Shared shared;
  std::thread holder;
  {
    std::atomic<bool> locked{false}, closed{false};
    holder = std::thread([&] {
      OK(cuCtxSetCurrent(context()));
      const std::scoped_lock lock(shared.mutex);
      OK(cuLaunchHostFunc(stream, take_lock, &shared));
      locked = true;
      while (!closed) std::this_thread::yield();
      OK(cuMemsetD8Async(memory, 1, 64, stream));  // waits at the gate, with the lock
    });
    demand(comes_true([&] { return locked && shared.begun; }), "the host function waits for the lock");
    const std::uint64_t wants = broker().up().wants.load();
    broker().gate(GateState::closed);
    demand(comes_true([&] { return broker().phase().generation == broker().generation(); }), "the gate is closed");
    closed = true;
    demand(comes_true([&] { return broker().up().wants.load() > wants; }), "the holder waits at the gate");
  }
  demand(broker().reaches(Phase::overdue), "the drain ends at its deadline");
  CHECK(broker().phase().reason == Overdue::stream_busy);
  CHECK_FALSE(shared.finished);
  broker().gate(GateState::open);
  holder.join();
  OK(cuStreamSynchronize(stream));
  CHECK(shared.finished);
  // And the next closing finds nothing that runs.
  broker().gate(GateState::closed);
  CHECK(broker().reaches(Phase::drained));
  broker().gate(GateState::open);
  OK(cuStreamDestroy_v2(stream));
  OK(cuMemFree_v2(memory));
}

}  // namespace lull::hazards

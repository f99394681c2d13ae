// Work in flight is bounded (shim/flight.h). Counted in kernels whose time is set, so that a slow machine changes
// nothing.
#include "tests/shim/client.h"

using namespace lull;

namespace {

constexpr char kernels_ptx[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry take_time(.param .u64 wait_ns, .param .u64 finished)
{
  .reg .pred %p;
  .reg .b32 %r<2>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [wait_ns];
  mov.u64 %rd2, %globaltimer;
SPIN:
  nanosleep.u32 100000;
  mov.u64 %rd3, %globaltimer;
  sub.u64 %rd4, %rd3, %rd2;
  setp.lt.u64 %p, %rd4, %rd1;
  @%p bra SPIN;
  ld.param.u64 %rd3, [finished];
  atom.global.add.u32 %r1, [%rd3], 1;
  ret;
}
)";

CUcontext current() {
  CUcontext context = nullptr;
  REQUIRE(cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  return context;
}

// Kernels that take a set time each, and how many are queued.
class Kernels {
 public:
  explicit Kernels(std::uint64_t each_ns) : each_ns_(each_ns) {
    REQUIRE(cuModuleLoadData(&module_, kernels_ptx) == CUDA_SUCCESS);
    REQUIRE(cuModuleGetFunction(&function_, module_, "take_time") == CUDA_SUCCESS);
    REQUIRE(cuMemHostAlloc(reinterpret_cast<void**>(&finished_), 4096, CU_MEMHOSTALLOC_DEVICEMAP) == CUDA_SUCCESS);
    REQUIRE(cuMemHostGetDevicePointer_v2(&finished_at_, finished_, 0) == CUDA_SUCCESS);
    *finished_ = 0;
  }
  ~Kernels() {
    CHECK(cuCtxSynchronize() == CUDA_SUCCESS);
    CHECK(cuModuleUnload(module_) == CUDA_SUCCESS);
    CHECK(cuMemFreeHost(finished_) == CUDA_SUCCESS);
  }
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  void launch(CUstream stream) {
    void* arguments[] = {&each_ns_, &finished_at_};
    REQUIRE(cuLaunchKernel(function_, 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr) == CUDA_SUCCESS);
  }
  unsigned finished() const { return __atomic_load_n(finished_, __ATOMIC_ACQUIRE); }

 private:
  std::uint64_t each_ns_;
  CUmodule module_ = nullptr;
  CUfunction function_ = nullptr;
  unsigned* finished_ = nullptr;
  CUdeviceptr finished_at_ = 0;
};

struct Stream {
  CUstream stream = nullptr;
  Stream() { REQUIRE(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS); }
  ~Stream() { CHECK(cuStreamDestroy_v2(stream) == CUDA_SUCCESS); }
};

// When it has answered to two gates, the shim has read every word and written every count of its own in between.
void await_shim() {
  for (int i = 0; i < 2; ++i) {
    broker->gate(GateState::open);
    REQUIRE(broker->reaches(Phase::running));
  }
}

// While it lives.
struct Limit {
  explicit Limit(std::uint32_t us) {
    broker->limit(us);
    await_shim();
  }
  ~Limit() { broker->limit(0); }
};

// Launches so many one after the other, and tells how many were queued at most.
template <class Launch>
unsigned most_queued(const Kernels& kernels, unsigned launches, unsigned kernels_each, Launch launch) {
  const unsigned before = kernels.finished();
  unsigned most = 0;
  for (unsigned i = 1; i <= launches; ++i) {
    launch();
    most = std::max(most, i * kernels_each - (kernels.finished() - before));
  }
  return most;
}

// An executable graph of so many kernels, one behind the other, some of them in a child graph.
struct Graph {
  CUgraphExec exec = nullptr;
  using Instantiate = CUresult (*)(CUgraphExec*, CUgraph);
  Graph(Kernels& kernels, unsigned count, Instantiate instantiate) {
    const Stream stream;
    CUgraph child = nullptr, whole = nullptr;
    REQUIRE(cuStreamBeginCapture_v2(stream.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == CUDA_SUCCESS);
    for (unsigned i = 0; i < count; ++i) kernels.launch(stream.stream);
    REQUIRE(cuStreamEndCapture(stream.stream, &child) == CUDA_SUCCESS);
    CUgraphNode node = nullptr;
    REQUIRE(cuGraphCreate(&whole, 0) == CUDA_SUCCESS);
    REQUIRE(cuGraphAddChildGraphNode(&node, whole, nullptr, 0, child) == CUDA_SUCCESS);
    REQUIRE(instantiate(&exec, whole) == CUDA_SUCCESS);
    REQUIRE(cuGraphDestroy(child) == CUDA_SUCCESS);
    REQUIRE(cuGraphDestroy(whole) == CUDA_SUCCESS);
  }
  ~Graph() { CHECK(cuGraphExecDestroy(exec) == CUDA_SUCCESS); }
};

}  // namespace

TEST_CASE("with a limit of 20 ms about ten kernels of 2 ms are queued, without one all that are launched") {
  Kernels kernels(2'000'000);
  const Stream stream;
  const auto launch = [&] { kernels.launch(stream.stream); };
  const unsigned loose = most_queued(kernels, 200, 1, launch);
  REQUIRE(cuStreamSynchronize(stream.stream) == CUDA_SUCCESS);
  CHECK(loose > 180);
  const Limit limit(20'000);
  const unsigned tight = most_queued(kernels, 200, 1, launch);
  CHECK(tight <= 18);
  CHECK(tight >= 5);  // and the device is not starved
  // So much a drain has to wait for.
  const unsigned at_close = kernels.finished();
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
  CHECK(kernels.finished() - at_close <= 18);
  CHECK(kernels.finished() == 400);
  broker->gate(GateState::open);
}

TEST_CASE("a limit reaches a thread that has launched without one, or with a looser one, at its next launch") {
  Kernels kernels(2'000'000);
  const Stream stream;
  for (const std::uint32_t before_us : {0u, 50'000u, 0u}) {
    broker->limit(before_us);
    await_shim();
    kernels.launch(stream.stream);
    REQUIRE(cuStreamSynchronize(stream.stream) == CUDA_SUCCESS);
    const Limit limit(10'000);
    CHECK(most_queued(kernels, 30, 1, [&] { kernels.launch(stream.stream); }) <= 12);
    REQUIRE(cuStreamSynchronize(stream.stream) == CUDA_SUCCESS);
  }
}

TEST_CASE("every stream is bounded: the default ones, those of other threads, and several by turns") {
  Kernels kernels(2'000'000);
  const Stream first, second;
  const Limit limit(20'000);
  SUBCASE("the legacy stream") {
    CHECK(most_queued(kernels, 40, 1, [&] { kernels.launch(nullptr); }) <= 20);
  }
  SUBCASE("a thread's own stream") {
    std::thread([&, context = current()] {
      (void)cuCtxSetCurrent(context);
      CHECK(most_queued(kernels, 40, 1, [&] { kernels.launch(CU_STREAM_PER_THREAD); }) <= 20);
    }).join();
  }
  SUBCASE("two streams by turns") {
    unsigned turn = 0;
    CHECK(most_queued(kernels, 80, 1, [&] { kernels.launch(turn++ % 2 ? first.stream : second.stream); }) <= 40);
  }
  SUBCASE("one stream that three threads submit to") {
    std::atomic<unsigned> launched{0}, most{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 3; ++i)
      threads.emplace_back([&, context = current()] {
        (void)cuCtxSetCurrent(context);
        for (unsigned k = 0; k < 25; ++k) {
          kernels.launch(first.stream);
          const unsigned queued = ++launched - kernels.finished();
          if (queued < 1u << 31 && queued > most) most = queued;
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(most.load() <= 30);
  }
  REQUIRE(cuCtxSynchronize() == CUDA_SUCCESS);
}

TEST_CASE("a graph weighs what it contains, its children's kernels too, whoever instantiates it") {
  const auto first = [](CUgraphExec* e, CUgraph g) { return cuGraphInstantiate(e, g, nullptr, nullptr, 0); };
  const auto second = [](CUgraphExec* e, CUgraph g) { return cuGraphInstantiate_v2(e, g, nullptr, nullptr, 0); };
  const auto flags = [](CUgraphExec* e, CUgraph g) { return cuGraphInstantiateWithFlags(e, g, 0); };
  const auto params = [](CUgraphExec* e, CUgraph g) {
    CUDA_GRAPH_INSTANTIATE_PARAMS none{};
    return cuGraphInstantiateWithParams(e, g, &none);
  };
  Kernels kernels(1'000'000);
  const Stream stream;
  const Limit limit(20'000);
  for (const Graph::Instantiate instantiate :
       {Graph::Instantiate(first), Graph::Instantiate(second), Graph::Instantiate(flags), Graph::Instantiate(params)}) {
    const Graph graph(kernels, 20, instantiate);
    (void)most_queued(kernels, 15, 1, [&] { kernels.launch(stream.stream); });  // what a unit takes is known by now
    REQUIRE(cuStreamSynchronize(stream.stream) == CUDA_SUCCESS);
    const auto launch = [&] { REQUIRE(cuGraphLaunch(graph.exec, stream.stream) == CUDA_SUCCESS); };
    CHECK(most_queued(kernels, 6, 20, launch) <= 60);  // one that runs and one behind it
    REQUIRE(cuStreamSynchronize(stream.stream) == CUDA_SUCCESS);
  }
}

TEST_CASE("a stream that waits for what its own thread will do later holds the thread back for a while, not for ever") {
  Kernels kernels(1000);
  const Stream stream;
  Buffer buffer(4096);
  REQUIRE(cuMemsetD32_v2(buffer.at, 0, 1) == CUDA_SUCCESS);
  const Limit limit(1000);
  REQUIRE(cuStreamWaitValue32_v2(stream.stream, buffer.at, 1, CU_STREAM_WAIT_VALUE_GEQ) == CUDA_SUCCESS);
  for (unsigned i = 0; i < 100; ++i) kernels.launch(stream.stream);
  CHECK(kernels.finished() == 0);
  REQUIRE(cuMemsetD32_v2(buffer.at, 1, 1) == CUDA_SUCCESS);
  REQUIRE(cuStreamSynchronize(stream.stream) == CUDA_SUCCESS);
  CHECK(kernels.finished() == 100);
}

TEST_CASE("submissions are counted exactly while limits come and go") {
  Buffer buffer(4096);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> launches{0};
  await_shim();
  const std::uint64_t before = broker->up().submissions.load();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&, i, context = current()] {
      (void)cuCtxSetCurrent(context);
      const Stream own;
      const CUstream streams[] = {own.stream, nullptr, CU_STREAM_PER_THREAD, own.stream};
      for (std::uint64_t n = 0; !stop; ++n) {
        REQUIRE(cuMemsetD8Async(buffer.at + i * 64, 1, 64, streams[i]) == CUDA_SUCCESS);
        ++launches;
        if (n % 64 == 0) REQUIRE(cuStreamSynchronize(streams[i]) == CUDA_SUCCESS);
      }
    });
  for (unsigned i = 0; i < 150; ++i) {
    broker->limit(i % 3 * 2000);
    if (i % 10 == 9) {
      broker->gate(GateState::closed);
      REQUIRE(broker->reaches(Phase::drained));
      broker->gate(GateState::open);
    }
    const std::uint64_t so_far = launches;
    REQUIRE(comes_true([&] { return launches > so_far + 20; }));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  broker->limit(0);
  CHECK(comes_true([&] { return broker->up().submissions.load() == before + launches; }));
  REQUIRE(cuCtxSynchronize() == CUDA_SUCCESS);
}

TEST_CASE("a capture in the strictest mode is not broken by the looks of other threads") {
  Buffer buffer(4096);
  const Stream capturing;
  const Limit limit(100);
  std::atomic<bool> stop{false};
  std::thread other([&, context = current()] {
    (void)cuCtxSetCurrent(context);
    const Stream own;
    while (!stop) REQUIRE(cuMemsetD8Async(buffer.at, 1, 64, own.stream) == CUDA_SUCCESS);
    REQUIRE(cuStreamSynchronize(own.stream) == CUDA_SUCCESS);
  });
  for (unsigned i = 0; i < 200; ++i) {
    CUgraph graph = nullptr;
    REQUIRE(cuStreamBeginCapture_v2(capturing.stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
    for (unsigned k = 0; k < 20; ++k) REQUIRE(cuMemsetD8Async(buffer.at + 64, 2, 64, capturing.stream) == CUDA_SUCCESS);
    REQUIRE(cuStreamEndCapture(capturing.stream, &graph) == CUDA_SUCCESS);
    std::size_t nodes = 0;
    REQUIRE(cuGraphGetNodes(graph, nullptr, &nodes) == CUDA_SUCCESS);
    CHECK(nodes == 20);
    REQUIRE(cuGraphDestroy(graph) == CUDA_SUCCESS);
  }
  stop = true;
  other.join();
}

TEST_CASE("a context that ends takes its markers along, and a stream may be another one's later") {
  const CUcontext before = current();
  const Limit limit(2000);
  for (unsigned i = 0; i < 20; ++i) {
    CUcontext context = nullptr;
    REQUIRE(cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS);
    Buffer buffer(4096);
    CUstream stream = nullptr;
    REQUIRE(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    for (unsigned k = 0; k < 40; ++k)
      REQUIRE(cuMemsetD8Async(buffer.at, 1, 64, k % 2 ? stream : nullptr) == CUDA_SUCCESS);
    REQUIRE(cuCtxSynchronize() == CUDA_SUCCESS);
    buffer.at = 0;  // it goes with its context
    REQUIRE(cuCtxDestroy_v2(context) == CUDA_SUCCESS);
  }
  REQUIRE(cuCtxSetCurrent(before) == CUDA_SUCCESS);
}

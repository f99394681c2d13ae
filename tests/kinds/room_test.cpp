// Native memory that the card has no room for: the broker is asked, makes room, and the call succeeds after all. The
// card is full of a neighbour's memory, which the shim knows nothing of; this broker has it give way, or refuses.
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

constexpr std::size_t little = 4 * mib;
constexpr const char* kernel_text =
    ".version 6.3\n.target sm_75\n.address_size 64\n.visible .entry nothing()\n{\n  ret;\n}\n";

// Takes all of the card but a little.
class Neighbour {
 public:
  Neighbour() { take(); }
  ~Neighbour() { give(~std::size_t{0}); }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

  void take() {
    static const auto create = reinterpret_cast<decltype(&cuMemCreate)>(behind_the_shim("cuMemCreate"));
    const std::scoped_lock lock(mutex_);
    CUmemAllocationProp memory{};
    memory.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    memory.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    CUmemGenericAllocationHandle handle = 0;
    while (free_on_card() >= little + granule && create(&handle, granule, &memory, 0) == CUDA_SUCCESS)
      pieces_.push_back(handle);
  }
  void give(std::size_t bytes) {
    static const auto release = reinterpret_cast<decltype(&cuMemRelease)>(behind_the_shim("cuMemRelease"));
    const std::scoped_lock lock(mutex_);
    for (; bytes > 0 && !pieces_.empty(); bytes -= std::min(bytes, granule)) {
      OK(release(pieces_.back()));
      pieces_.pop_back();
    }
  }

 private:
  std::mutex mutex_;
  std::vector<CUmemGenericAllocationHandle> pieces_;
};

std::uint64_t wanted() { return broker().up().native_wanted.load(); }

// The part of the broker: what is wanted is taken from the neighbour, or refused.
class Answers {
 public:
  enum Kind { yes, no };
  Answers(Neighbour& neighbour, Kind kind) : neighbour_(neighbour), kind_(kind), given_(wanted()) {
    broker().native_room(given_);
    broker().refuse_native(0);
    (void)context();
    thread_ = std::thread([this] { run(); });
  }
  ~Answers() {
    stop_ = true;
    thread_.join();
  }
  Answers(const Answers&) = delete;
  Answers& operator=(const Answers&) = delete;
  unsigned requests() const { return requests_; }
  std::uint64_t refused() const { return refused_; }

 private:
  void run() {
    OK(cuCtxSetCurrent(context()));
    while (!stop_) {
      const std::uint64_t now = wanted();
      if (now > given_ && now != refused_) answer(now);
      if (now < given_) broker().native_room(given_ = now);
      if (now == given_ && refused_ > 0) broker().refuse_native(refused_ = 0);
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
  }
  void answer(std::uint64_t now) {
    ++requests_;
    if (kind_ == no) return broker().refuse_native(refused_ = now);
    neighbour_.give(now - given_);
    broker().native_room(given_ = now);
  }

  Neighbour& neighbour_;
  const Kind kind_;
  std::atomic<std::uint64_t> given_, refused_{0};
  std::atomic<unsigned> requests_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

CUfunction fresh_function() {
  (void)context();
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, kernel_text));
  OK(cuModuleGetFunction(&function, module, "nothing"));
  return function;
}

CUgraph graph_of(CUfunction function) {
  CUgraph graph = nullptr;
  CUgraphNode node = nullptr;
  CUDA_KERNEL_NODE_PARAMS kernel{};
  kernel.func = function;
  kernel.gridDimX = kernel.gridDimY = kernel.gridDimZ = kernel.blockDimX = kernel.blockDimY = kernel.blockDimZ = 1;
  OK(cuGraphCreate(&graph, 0));
  OK(cuGraphAddKernelNode_v2(&node, graph, nullptr, 0, &kernel));
  return graph;
}

// Calls that need more than the little that is left. What they need to begin with is there before.
struct Needy {
  const char* name;
  std::function<CUresult()> call;
};

std::vector<Needy> needy_calls() {
  const CUfunction one = fresh_function(), other = fresh_function(), third = fresh_function();
  const CUgraph graph = graph_of(fresh_function());
  return {
      {"cuFuncLoad", [=] { return cuFuncLoad(one); }},
      {"cuLaunchKernelEx",
       [=] {
         const CUlaunchConfig config{1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, 0};
         return cuLaunchKernelEx(&config, other, nullptr, nullptr);
       }},
      {"cuLaunchCooperativeKernel",
       [=] {
         // Behind the fast path its arguments are gone: soon after the card has become full that path is closed.
         CUresult result = CUDA_SUCCESS;
         (void)comes_true([&] {
           result = cuLaunchCooperativeKernel(third, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr);
           return result != CUDA_ERROR_OUT_OF_MEMORY;
         });
         return result;
       }},
      {"cuGraphInstantiateWithFlags",
       [=] {
         CUgraphExec exec = nullptr;
         return cuGraphInstantiateWithFlags(&exec, graph, 0);
       }},
      {"cuGraphInstantiateWithParams",
       [=] {
         CUgraphExec exec = nullptr;
         CUDA_GRAPH_INSTANTIATE_PARAMS parameters{};
         return cuGraphInstantiateWithParams(&exec, graph, &parameters);
       }},
      {"cuMemAllocAsync",
       [] {
         CUdeviceptr at = 0;
         return cuMemAllocAsync(&at, 40 * mib, nullptr);
       }},
      {"cuArray3DCreate",
       [] {
         CUarray array = nullptr;
         const CUDA_ARRAY3D_DESCRIPTOR flat{4096, 4096, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0};
         return cuArray3DCreate_v2(&array, &flat);
       }},
      {"cuCtxCreate",
       [] {
         CUcontext made = nullptr;
         const CUresult result = cuCtxCreate_v2(&made, 0, 0);
         (void)cuCtxSetCurrent(context());
         return result;
       }},
  };
}

}  // namespace

TEST_CASE("room: calls that take native memory succeed when others have made room") {
  const std::vector<Needy> calls = needy_calls();
  Neighbour neighbour;
  for (const Needy& needy : calls) {
    CAPTURE(needy.name);
    neighbour.take();
    const Answers answers(neighbour, Answers::yes);
    const std::uint64_t before = wanted();
    CHECK(needy.call() == CUDA_SUCCESS);
    CHECK(answers.requests() > 0);
    CHECK(wanted() > before);  // and stays charged
  }
  OK(cuCtxSynchronize());
}

TEST_CASE("room: a refusal is the driver's own error, at once, and nothing stays asked for") {
  const std::vector<Needy> calls = needy_calls();
  Neighbour neighbour;
  for (const Needy& needy : calls) {
    if (needy.name == std::string("cuLaunchCooperativeKernel")) continue;
    CAPTURE(needy.name);
    const Answers answers(neighbour, Answers::no);
    const std::uint64_t before = wanted();
    CHECK(needy.call() == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(answers.requests() == 1);
    CHECK(wanted() == before);
    CHECK(comes_true([&] { return answers.refused() == 0; }));
  }
}

TEST_CASE("room: a broker that knows nothing of it is not asked") {
  const CUfunction function = fresh_function();
  Neighbour neighbour;
  broker().no_native_room();
  const std::uint64_t before = wanted();
  CHECK(cuFuncLoad(function) == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(wanted() == before);
}

TEST_CASE("room: nothing is asked for while a capture is open, since nobody may wait then") {
  const CUfunction function = fresh_function();
  const CUstream stream = make_stream();
  Neighbour neighbour;
  const Answers answers(neighbour, Answers::yes);
  OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  CHECK(cuFuncLoad(function) == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(answers.requests() == 0);
  CUgraph graph = nullptr;
  OK(cuStreamEndCapture(stream, &graph));
  CHECK(cuFuncLoad(function) == CUDA_SUCCESS);
}

TEST_CASE("room: while the gate is closed it waits for its turn") {
  const CUfunction function = fresh_function();
  Neighbour neighbour;
  const Answers answers(neighbour, Answers::yes);
  close_gate();
  const std::uint64_t wants = broker().up().wants.load();
  std::atomic<int> result{-1};
  std::thread caller([&] {
    OK(cuCtxSetCurrent(context()));
    result = cuFuncLoad(function);
  });
  CHECK(comes_true([&] { return broker().up().wants.load() > wants && answers.requests() > 0; }));
  CHECK(result == -1);
  broker().gate(GateState::open);
  caller.join();
  CHECK(result == CUDA_SUCCESS);
}

TEST_CASE(
    "room: a restore that finds no memory although it may have it asks for room, and gives it back when it leaves") {
  broker().give_backing(64 * mib);
  CUdeviceptr movable = 0;
  OK(cuMemAlloc_v2(&movable, 48 * mib));
  fill(movable, 48 * mib, 7);
  const std::uint64_t before = wanted();
  demand(broker().evict_to(0), "the memory leaves");
  Neighbour neighbour;  // has grown meanwhile
  broker().native_room(before);
  broker().quota(~0ull >> 1);
  CHECK(comes_true([&] {
    return broker().phase().phase == Phase::overdue && broker().phase().reason == Overdue::no_device_memory;
  }));
  CHECK(comes_true([&] { return wanted() > before; }));
  {
    const Answers answers(neighbour, Answers::yes);
    CHECK(comes_true([&] { return broker().up().resident.load() == broker().up().needed.load(); }, 30));
  }
  CHECK(comes_true([&] { return broker().phase().phase != Phase::moving; }));
  broker().gate(GateState::open);
  CHECK(intact(movable, 48 * mib, 7));
  CHECK(wanted() > before);
  demand(broker().evict_to(0), "the memory leaves again");
  CHECK(comes_true([&] { return wanted() == before; }));
  neighbour.give(~std::size_t{0});
  CHECK(broker().restore());
  CHECK(intact(movable, 48 * mib, 7));
  OK(cuMemFree_v2(movable));
}

}  // namespace lull::hazards

#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

namespace {

CUDA_MEM_ALLOC_NODE_PARAMS request(std::size_t bytes) {
  CUDA_MEM_ALLOC_NODE_PARAMS p{};
  p.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  p.bytesize = bytes;
  return p;
}

// allocate, fill, and free where asked to.
struct Allocating {
  explicit Allocating(bool frees, std::size_t bytes = granule) {
    auto p = request(bytes);
    OK(cuGraphAddMemAllocNode(&alloc, graph.handle, nullptr, 0, &p));
    at = p.dptr;
    if (!frees) return;
    OK(cuGraphAddMemFreeNode(&free, graph.handle, &alloc, 1, at));
  }
  ~Allocating() { (void)cuDeviceGraphMemTrim(0); }
  Allocating(const Allocating&) = delete;
  Allocating& operator=(const Allocating&) = delete;
  TestGraph graph;
  CUgraphNode alloc = nullptr, free = nullptr;
  CUdeviceptr at = 0;
};

cuuint64_t used() {
  cuuint64_t bytes = 0;
  OK(cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &bytes));
  return bytes;
}

}  // namespace

TEST_CASE("an allocation node has its address at once and its memory from the launch to the free") {
  const TestContext context;
  const Allocating a(false);
  CHECK_NE(a.at, 0);
  CUDA_MEM_ALLOC_NODE_PARAMS told{};
  OK(cuGraphMemAllocNodeGetParams(a.alloc, &told));
  CHECK_EQ(told.dptr, a.at);
  CHECK_EQ(used(), 0);
  const Exec exec(a.graph.handle);
  exec.run();
  CHECK_EQ(used(), granule);
  OK(cuMemsetD8_v2(a.at, 1, granule));
  OK(cuCtxSynchronize());
  OK(cuMemFree_v2(a.at));
  CHECK_EQ(used(), 0);
  CHECK_EQ(cuMemFree_v2(a.at), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a graph is not launched again while what it allocated is not freed") {
  const TestContext context;
  const Allocating a(false);
  const Exec exec(a.graph.handle);
  const CUstream s = new_stream();
  OK(cuGraphLaunch(exec.handle, s));
  CHECK_EQ(cuGraphLaunch(exec.handle, s), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFreeAsync(a.at, s));  // in the order of the stream: the launch may not even have begun
  OK(cuGraphLaunch(exec.handle, s));
  OK(cuMemFreeAsync(a.at, s));
  CHECK_EQ(cuMemFreeAsync(a.at, s), CUDA_ERROR_INVALID_VALUE);
  OK(cuStreamSynchronize(s));
  CHECK_EQ(used(), 0);
}

TEST_CASE("with automatic free a launch frees what the last one left") {
  const TestContext context;
  const Allocating a(false);
  const Exec exec(a.graph.handle, CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
  exec.run();
  exec.run();
  CHECK_EQ(used(), granule);
  OK(cuMemFree_v2(a.at));
}

TEST_CASE("what a graph allocates and frees itself can be launched any number of times") {
  const TestContext context;
  const Allocating a(true);
  const Exec exec(a.graph.handle);
  for (int i = 0; i < 3; ++i) exec.run();
  CHECK_EQ(used(), 0);
  CHECK_EQ(cuMemFree_v2(a.at), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a free node takes only what an allocation node returned, once in a graph") {
  const TestContext context;
  const Allocating a(true);
  Buffer plain;
  CUgraphNode node = nullptr;
  CHECK_EQ(cuGraphAddMemFreeNode(&node, a.graph.handle, nullptr, 0, a.at), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddMemFreeNode(&node, a.graph.handle, nullptr, 0, plain.at), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddMemFreeNode(&node, a.graph.handle, nullptr, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr told = 0;
  OK(cuGraphMemFreeNodeGetParams(a.free, &told));
  CHECK_EQ(told, a.at);
}

TEST_CASE("a graph with memory nodes is not cloned, cut or instantiated twice") {
  const TestContext context;
  const Allocating a(true);
  CUgraph clone = nullptr;
  CHECK_EQ(cuGraphClone(&clone, a.graph.handle), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphDestroyNode(a.free), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphRemoveDependencies(a.graph.handle, &a.alloc, &a.free, 1), CUDA_ERROR_INVALID_VALUE);
  const TestGraph outer;
  CUgraphNode child = nullptr;
  CHECK_EQ(cuGraphAddChildGraphNode(&child, outer.handle, nullptr, 0, a.graph.handle), CUDA_ERROR_INVALID_VALUE);
  CUgraphExec second = nullptr;
  {
    const Exec exec(a.graph.handle);
    CHECK_EQ(cuGraphInstantiateWithFlags(&second, a.graph.handle, 0), CUDA_ERROR_INVALID_VALUE);
  }
  OK(cuGraphInstantiateWithFlags(&second, a.graph.handle, 0));
  OK(cuGraphExecDestroy(second));
}

TEST_CASE("a launch that needs more memory than the card has is refused, and the context lives on") {
  const TestContext context;
  const Allocating a(true, card_bytes);
  const Exec exec(a.graph.handle);
  CHECK_EQ(cuGraphLaunch(exec.handle, nullptr), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuCtxSynchronize());
  CHECK_EQ(used(), 0);
}

TEST_CASE("memory requests of a capture become nodes") {
  const TestContext context;
  const CUstream s = new_stream();
  CUdeviceptr at = 0, word_at = 0;
  std::uint32_t word = 0;
  CUgraph graph = nullptr;
  OK(cuMemAlloc_v2(&word_at, 4));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuMemAllocAsync(&at, granule, s));
  OK(cuMemsetD32Async(at, 6, 16, s));
  OK(cuMemcpyDtoDAsync_v2(word_at, at, 4, s));
  CHECK_EQ(cuMemFreeAsync(word_at, s), CUDA_ERROR_INVALID_VALUE);  // of no graph
  OK(cuMemFreeAsync(at, s));
  OK(cuStreamEndCapture(s, &graph));
  {
    const Exec exec(graph);
    exec.run(s);
    exec.run(s);
  }
  OK(cuMemcpyDtoH_v2(&word, word_at, 4));
  CHECK_EQ(word, 6);
  OK(cuGraphDestroy(graph));
  OK(cuDeviceGraphMemTrim(0));
}

TEST_CASE("allocation nodes are on a device and shared with nobody") {
  const TestContext context;
  const TestGraph graph;
  CUgraphNode node = nullptr;
  auto p = request(0);
  CHECK_EQ(cuGraphAddMemAllocNode(&node, graph.handle, nullptr, 0, &p), CUDA_ERROR_INVALID_VALUE);
  p = request(granule);
  p.poolProps.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  CHECK_EQ(cuGraphAddMemAllocNode(&node, graph.handle, nullptr, 0, &p), CUDA_ERROR_NOT_SUPPORTED);
  p = request(granule);
  p.poolProps.location.id = 7;
  CHECK_EQ(cuGraphAddMemAllocNode(&node, graph.handle, nullptr, 0, &p), CUDA_ERROR_INVALID_VALUE);
}

#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

namespace {

// Page-locked words that the host and streams share.
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

CUgraphNode memory_operation(const TestGraph& graph, CUcontext context, bool wait, CUdeviceptr at, std::uint32_t value,
                             const std::vector<CUgraphNode>& behind = {}) {
  CUstreamBatchMemOpParams op{};
  if (wait) {
    op.waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
    op.waitValue.address = at;
    op.waitValue.value = value;
    op.waitValue.flags = CU_STREAM_WAIT_VALUE_EQ;
  } else {
    op.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    op.writeValue.address = at;
    op.writeValue.value = value;
  }
  const CUDA_BATCH_MEM_OP_NODE_PARAMS parameters{context, 1, &op, 0};
  CUgraphNode node = nullptr;
  OK(cuGraphAddBatchMemOpNode(&node, graph.handle, behind.data(), behind.size(), &parameters));
  return node;
}

}  // namespace

TEST_CASE("nodes run behind what they depend on, whatever order they were added in") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode last = graph.fill(buffer, 3), first = graph.fill(buffer, 1);
  const CUgraphNode middle = graph.fill(buffer, 2, {first});
  OK(cuGraphAddDependencies(graph.handle, &middle, &last, 1));
  const Exec exec(graph.handle);
  for (int i = 0; i < 20; ++i) {
    exec.run();
    CHECK_EQ(buffer.word(), 3);
  }
}

TEST_CASE("branches that do not depend on each other may run side by side") {
  const TestContext context;
  const TestGraph graph;
  const Words words;
  const CUgraphNode waits = memory_operation(graph, context.handle, true, words.at(0), 1);
  (void)memory_operation(graph, context.handle, false, words.at(0), 1);  // the other branch lets the first one go
  (void)memory_operation(graph, context.handle, false, words.at(1), 1, {waits});
  const Exec exec(graph.handle);
  exec.run();
  CHECK_EQ(words.get(1), 1);
}

TEST_CASE("to its stream a graph is one piece of work") {
  const TestContext context;
  const TestGraph graph;
  const Words words;
  (void)memory_operation(graph, context.handle, true, words.at(0), 1);
  (void)memory_operation(graph, context.handle, false, words.at(1), 1);
  const Exec exec(graph.handle);
  const CUstream s = new_stream();
  OK(cuStreamWaitValue32_v2(s, words.at(3), 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuGraphLaunch(exec.handle, s));
  OK(cuStreamWriteValue32_v2(s, words.at(2), 1, 0));
  CHECK_EQ(words.get(1), 0);  // no node before the stream gets there
  words.set(3, 1);
  CHECK(eventually([&] { return words.get(1) == 1; }));
  CHECK_EQ(words.get(2), 0);  // nothing behind it before all of it is over
  words.set(0, 1);
  OK(cuStreamSynchronize(s));
  CHECK_EQ(words.get(2), 1);
}

TEST_CASE("launches of one executable graph run one after another, in whatever streams") {
  const TestContext context;
  const TestGraph graph;
  const Words words;
  (void)memory_operation(graph, context.handle, true, words.at(0), 1);
  const Exec exec(graph.handle), twin(graph.handle);
  const CUstream a = new_stream(), b = new_stream(), c = new_stream();
  OK(cuStreamWaitValue32_v2(a, words.at(1), 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuGraphLaunch(exec.handle, a));
  OK(cuGraphLaunch(exec.handle, b));
  words.set(0, 1);
  OK(cuGraphLaunch(twin.handle, c));
  OK(cuStreamSynchronize(c));  // another executable graph does not wait
  CHECK_EQ(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  words.set(1, 1);
  OK(cuStreamSynchronize(b));
}

TEST_CASE("a graph that depends on itself cannot be instantiated, and the node is named") {
  const TestContext context;
  const TestGraph graph;
  const CUgraphNode a = graph.empty(), b = graph.empty({a});
  OK(cuGraphAddDependencies(graph.handle, &b, &a, 1));
  CUgraphExec exec = nullptr;
  CHECK_EQ(cuGraphInstantiateWithFlags(&exec, graph.handle, 0), CUDA_ERROR_INVALID_VALUE);
  CUDA_GRAPH_INSTANTIATE_PARAMS parameters{};
  CHECK_EQ(cuGraphInstantiateWithParams(&exec, graph.handle, &parameters), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(parameters.result_out, CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE);
  CHECK((parameters.hErrNode_out == a || parameters.hErrNode_out == b));
}

TEST_CASE("instantiation flags are checked, kept and told") {
  const TestContext context;
  const TestGraph graph;
  (void)graph.empty();
  CUgraphExec exec = nullptr;
  CHECK_EQ(cuGraphInstantiateWithFlags(&exec, graph.handle, 1u << 20), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphInstantiateWithFlags(&exec, graph.handle, CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH),
           CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuGraphInstantiateWithFlags(
               &exec, graph.handle,
               CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH),
           CUDA_ERROR_INVALID_VALUE);
  const Exec made(graph.handle, CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY);
  cuuint64_t flags = 0;
  OK(cuGraphExecGetFlags(made.handle, &flags));
  CHECK_EQ(flags, CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY);
  CUDA_GRAPH_INSTANTIATE_PARAMS parameters{};
  parameters.flags = CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD;
  OK(cuGraphInstantiateWithParams(&exec, graph.handle, &parameters));
  CHECK_EQ(parameters.result_out, CUDA_GRAPH_INSTANTIATE_SUCCESS);
  OK(cuGraphExecDestroy(exec));
  CHECK_EQ(cuGraphExecDestroy(exec), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphLaunch(exec, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("an executable graph costs device memory; a full card has none for it") {
  const TestContext context;
  const TestGraph graph;
  (void)graph.empty();
  const std::size_t before = free_bytes();
  {
    const Exec exec(graph.handle);
    CHECK(free_bytes() < before);
  }
  CHECK_EQ(free_bytes(), before);
  const auto all = create(before / granule * granule);
  CUgraphExec exec = nullptr;
  CUresult result = CUDA_SUCCESS;
  std::vector<CUgraphExec> made;
  for (int i = 0; i < 100 && result == CUDA_SUCCESS; ++i) {
    result = cuGraphInstantiateWithFlags(&exec, graph.handle, 0);
    if (result == CUDA_SUCCESS) made.push_back(exec);
  }
  CHECK_EQ(result, CUDA_ERROR_OUT_OF_MEMORY);
  for (const CUgraphExec e : made) OK(cuGraphExecDestroy(e));
  OK(cuMemRelease(all));
}

TEST_CASE("an executable graph destroyed in flight still finishes its launch") {
  const TestContext context;
  const TestGraph graph;
  const Words words;
  const CUgraphNode waits = memory_operation(graph, context.handle, true, words.at(0), 1);
  (void)memory_operation(graph, context.handle, false, words.at(1), 1, {waits});
  CUgraphExec exec = nullptr;
  OK(cuGraphInstantiateWithFlags(&exec, graph.handle, 0));
  const CUstream s = new_stream();
  OK(cuGraphLaunch(exec, s));
  OK(cuGraphExecDestroy(exec));
  words.set(0, 1);
  OK(cuStreamSynchronize(s));
  CHECK_EQ(words.get(1), 1);
}

TEST_CASE("an event recorded by a graph is waited for by what is called after the launch") {
  const TestContext context;
  const TestGraph graph;
  const Words words;
  const CUevent event = new_event();
  const CUgraphNode waits = memory_operation(graph, context.handle, true, words.at(0), 1);
  CUgraphNode record = nullptr;
  OK(cuGraphAddEventRecordNode(&record, graph.handle, &waits, 1, event));
  CUevent told = nullptr;
  OK(cuGraphEventRecordNodeGetEvent(record, &told));
  CHECK_EQ(told, event);
  CHECK_EQ(cuGraphEventWaitNodeGetEvent(record, &told), CUDA_ERROR_INVALID_VALUE);
  const Exec exec(graph.handle);
  const CUstream a = new_stream(), b = new_stream();
  CHECK_EQ(cuEventQuery(event), CUDA_SUCCESS);
  OK(cuGraphLaunch(exec.handle, a));
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  OK(cuStreamWaitEvent(b, event, 0));
  OK(cuStreamWriteValue32_v2(b, words.at(1), 1, 0));
  CHECK_EQ(words.get(1), 0);
  words.set(0, 1);
  OK(cuStreamSynchronize(b));
  CHECK_EQ(words.get(1), 1);
}

TEST_CASE("a wait node waits for the record made before the launch") {
  const TestContext context;
  const TestGraph graph;
  const Words words;
  const CUevent event = new_event();
  CUgraphNode wait = nullptr;
  OK(cuGraphAddEventWaitNode(&wait, graph.handle, nullptr, 0, event));
  (void)memory_operation(graph, context.handle, false, words.at(1), 1, {wait});
  const Exec exec(graph.handle);
  const CUstream a = new_stream(), b = new_stream();
  OK(cuStreamWaitValue32_v2(a, words.at(0), 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuEventRecord(event, a));
  OK(cuGraphLaunch(exec.handle, b));
  CHECK_EQ(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  CHECK_EQ(words.get(1), 0);
  words.set(0, 1);
  OK(cuStreamSynchronize(b));
  CHECK_EQ(words.get(1), 1);
}

TEST_CASE("a host node calls its function, which may not call the driver") {
  const TestContext context;
  const TestGraph graph;
  CUresult result = CUDA_SUCCESS;
  (void)graph.call(
      [](void* p) {
        int count = 0;
        *static_cast<CUresult*>(p) = cuDeviceGetCount(&count);
      },
      &result);
  const Exec exec(graph.handle);
  exec.run();
  CHECK_EQ(result, CUDA_ERROR_NOT_PERMITTED);
}

TEST_CASE("a fault in a graph is the context's error, and the nodes behind it do not run") {
  const TestContext outer;
  Buffer kept;
  {
    const TestContext context;
    const TestGraph graph;
    CUdeviceptr at = 0;
    OK(cuMemAddressReserve(&at, granule, 0, 0, 0));
    const auto handle = create(granule);
    map(at, granule, handle);
    const CUDA_MEMSET_NODE_PARAMS fill{at, 0, 1, 4, 16, 1};
    CUgraphNode faulty = nullptr;
    OK(cuGraphAddMemsetNode(&faulty, graph.handle, nullptr, 0, &fill, nullptr));
    (void)graph.fill(kept, 5, {faulty});
    const Exec exec(graph.handle);
    OK(cuMemUnmap(at, granule));
    OK(cuMemRelease(handle));
    OK(cuGraphLaunch(exec.handle, nullptr));
    CHECK_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_EQ(cuGraphLaunch(exec.handle, nullptr), CUDA_ERROR_ILLEGAL_ADDRESS);
  }
  CHECK_EQ(kept.word(), 0);
}

TEST_CASE("a graph launched into a capture becomes a child node of it") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode a = graph.fill(buffer, 4);
  (void)graph.add_one(kernel("add_one"), buffer, {a});
  const Exec exec(graph.handle);
  const CUstream s = new_stream();
  CUgraph outer = nullptr;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuGraphLaunch(exec.handle, s));
  OK(cuStreamEndCapture(s, &outer));
  CUgraphNode node = nullptr;
  std::size_t count = 1;
  OK(cuGraphGetNodes(outer, &node, &count));
  CUgraphNodeType type{};
  OK(cuGraphNodeGetType(node, &type));
  CHECK_EQ(type, CU_GRAPH_NODE_TYPE_GRAPH);
  CHECK_EQ(buffer.word(), 0);
  const Exec whole(outer);
  whole.run();
  CHECK_EQ(buffer.word(), 5);
  OK(cuGraphDestroy(outer));
}

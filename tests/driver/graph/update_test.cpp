#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

namespace {

CUgraphExecUpdateResultInfo refused(CUgraphExec exec, CUgraph graph) {
  CUgraphExecUpdateResultInfo info{};
  CHECK_EQ(cuGraphExecUpdate_v2(exec, graph, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  return info;
}

}  // namespace

TEST_CASE("an update takes over the parameters of a graph of the same shape") {
  const TestContext context;
  const TestGraph graph, next;
  Buffer buffer;
  const CUfunction add_one = kernel("add_one");
  (void)graph.add_one(add_one, buffer, {graph.fill(buffer, 1)});
  (void)next.add_one(add_one, buffer, {next.fill(buffer, 8)});
  const Exec exec(graph.handle);
  CUgraphExecUpdateResultInfo info{};
  OK(cuGraphExecUpdate_v2(exec.handle, next.handle, &info));
  CHECK_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  exec.run();
  CHECK_EQ(buffer.word(), 9);
}

TEST_CASE("an update is refused where the shape differs, and tells where") {
  const TestContext context;
  const TestGraph graph, more, other_type, other_edges;
  const CUgraphNode a = graph.empty(), b = graph.empty({a});
  (void)graph.empty({a, b});
  const Exec exec(graph.handle);
  (void)more.empty({more.empty()});
  CHECK_EQ(refused(exec.handle, more.handle).result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  CHECK_EQ(refused(exec.handle, more.handle).errorNode, nullptr);  // of the count
  Buffer buffer;
  const CUgraphNode c = other_type.empty(), d = other_type.fill(buffer, 1, {c});
  (void)other_type.empty({c, d});
  CHECK_EQ(refused(exec.handle, other_type.handle).result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
  CHECK_EQ(refused(exec.handle, other_type.handle).errorNode, d);
  const CUgraphNode e = other_edges.empty(), f = other_edges.empty();
  const CUgraphNode last = other_edges.empty({e, f});
  const auto info = refused(exec.handle, other_edges.handle);
  CHECK_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  CHECK((info.errorNode == f || info.errorNode == last));
}

TEST_CASE("an update that is refused changes nothing") {
  const TestContext context;
  const TestGraph graph, next;
  Buffer buffer, wide;
  const CUgraphNode first = graph.fill(buffer, 1);
  auto two_rows = TestGraph::fill_parameters(wide, 1);
  two_rows.width = 8;
  two_rows.pitch = 64;
  two_rows.height = 2;
  CUgraphNode node = nullptr;
  OK(cuGraphAddMemsetNode(&node, graph.handle, &first, 1, &two_rows, nullptr));
  const CUgraphNode changed = next.fill(buffer, 5);
  two_rows.width = 4;  // of a memset of rows no size may change
  OK(cuGraphAddMemsetNode(&node, next.handle, &changed, 1, &two_rows, nullptr));
  const Exec exec(graph.handle);
  const auto info = refused(exec.handle, next.handle);
  CHECK_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
  CHECK_EQ(info.errorNode, node);
  exec.run();
  CHECK_EQ(buffer.word(), 1);
}

TEST_CASE("a kernel's function may be another of its context, and of no other") {
  const TestContext outer;
  Buffer buffer;
  const CUfunction here = kernel("add_one"), again = kernel("add_one");
  const TestGraph graph;
  const CUgraphNode node = graph.add_one(here, buffer);
  const Exec exec(graph.handle);
  std::uint32_t n = words_in_buffer;
  void* arguments[] = {&buffer.at, &n};
  auto parameters = TestGraph::kernel_parameters(again, arguments);
  OK(cuGraphExecKernelNodeSetParams_v2(exec.handle, node, &parameters));
  exec.run();
  CHECK_EQ(buffer.word(), 1);
  const TestContext other;
  parameters = TestGraph::kernel_parameters(kernel("add_one"), arguments);
  CHECK_EQ(cuGraphExecKernelNodeSetParams_v2(exec.handle, node, &parameters), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a node's parameters in an executable graph are its own") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode node = graph.fill(buffer, 1);
  const Exec exec(graph.handle);
  const auto parameters = TestGraph::fill_parameters(buffer, 6);
  OK(cuGraphExecMemsetNodeSetParams(exec.handle, node, &parameters, context.handle));
  CUDA_MEMSET_NODE_PARAMS told{};
  OK(cuGraphMemsetNodeGetParams(node, &told));
  CHECK_EQ(told.value, 1);
  exec.run();
  CHECK_EQ(buffer.word(), 6);
  const CUgraphNode later = graph.fill(buffer, 2);  // was not there when it was instantiated
  CHECK_EQ(cuGraphExecMemsetNodeSetParams(exec.handle, later, &parameters, context.handle), CUDA_ERROR_INVALID_VALUE);
  const CUDA_HOST_NODE_PARAMS host{[](void*) {}, nullptr};
  CHECK_EQ(cuGraphExecHostNodeSetParams(exec.handle, node, &host), CUDA_ERROR_INVALID_VALUE);  // another type
}

TEST_CASE("only one-dimensional copies of an executable graph may change") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  std::uint32_t one[4] = {1, 1, 1, 1}, two[4] = {2, 2, 2, 2};
  auto copy = row_copy(buffer.at, one, sizeof one);
  CUgraphNode node = nullptr;
  OK(cuGraphAddMemcpyNode(&node, graph.handle, nullptr, 0, &copy, context.handle));
  const Exec exec(graph.handle);
  copy.srcHost = two;
  OK(cuGraphExecMemcpyNodeSetParams(exec.handle, node, &copy, context.handle));
  exec.run();
  CHECK_EQ(buffer.word(), 2);
  copy.Height = 2;
  copy.WidthInBytes = 4;
  copy.srcPitch = copy.dstPitch = 8;
  CHECK_EQ(cuGraphExecMemcpyNodeSetParams(exec.handle, node, &copy, context.handle), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a disabled node is an empty one until it is enabled again") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode set = graph.fill(buffer, 4), empty = graph.empty({set});
  const Exec exec(graph.handle);
  unsigned enabled = 9;
  OK(cuGraphNodeSetEnabled(exec.handle, set, 0));
  OK(cuGraphNodeGetEnabled(exec.handle, set, &enabled));
  CHECK_EQ(enabled, 0);
  exec.run();
  CHECK_EQ(buffer.word(), 0);
  OK(cuGraphNodeSetEnabled(exec.handle, set, 1));
  exec.run();
  CHECK_EQ(buffer.word(), 4);
  CHECK_EQ(cuGraphNodeSetEnabled(exec.handle, empty, 0), CUDA_ERROR_INVALID_VALUE);  // not of this type
}

TEST_CASE("a launch in flight keeps the parameters it was called with") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer, gate;
  const CUgraphNode node = graph.fill(buffer, 1);
  const Exec exec(graph.handle);
  const CUstream s = new_stream();
  OK(cuStreamWaitValue32_v2(s, gate.at, 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuGraphLaunch(exec.handle, s));
  const auto parameters = TestGraph::fill_parameters(buffer, 2);
  OK(cuGraphExecMemsetNodeSetParams(exec.handle, node, &parameters, nullptr));
  const CUstream other = new_stream();
  OK(cuStreamWriteValue32_v2(other, gate.at, 1, 0));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(buffer.word(), 1);
  exec.run();
  CHECK_EQ(buffer.word(), 2);
}

TEST_CASE("an update reaches into child graphs, all of it or nothing") {
  const TestContext context;
  const TestGraph graph, inner, next;
  Buffer buffer;
  const CUgraphNode set = inner.fill(buffer, 1);
  CUgraphNode child = nullptr;
  OK(cuGraphAddChildGraphNode(&child, graph.handle, nullptr, 0, inner.handle));
  const Exec exec(graph.handle);
  const auto parameters = TestGraph::fill_parameters(buffer, 3);
  OK(cuGraphMemsetNodeSetParams(set, &parameters));
  OK(cuGraphExecChildGraphNodeSetParams(exec.handle, child, inner.handle));
  exec.run();
  CHECK_EQ(buffer.word(), 3);
  const TestGraph other;
  (void)other.empty();
  CHECK_EQ(cuGraphExecChildGraphNodeSetParams(exec.handle, child, other.handle), CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphAddChildGraphNode(&child, next.handle, nullptr, 0, other.handle));
  CHECK_EQ(refused(exec.handle, next.handle).result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
}

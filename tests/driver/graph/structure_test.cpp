#include <fstream>
#include <iterator>
#include <string>

#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

TEST_CASE("a node's dependencies are of its graph and named once") {
  const TestContext context;
  const TestGraph graph, other;
  const CUgraphNode a = graph.empty(), foreign = other.empty();
  CUgraphNode node = nullptr;
  const CUgraphNode twice[] = {a, a};
  CHECK_EQ(cuGraphAddEmptyNode(&node, graph.handle, twice, 2), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddEmptyNode(&node, graph.handle, &foreign, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddEmptyNode(&node, graph.handle, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddEmptyNode(nullptr, graph.handle, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(graph.size(), 1);
}

TEST_CASE("a list of nodes tells its length without room, and fills room that is left with null") {
  const TestContext context;
  const TestGraph graph;
  const CUgraphNode a = graph.empty(), b = graph.empty({a});
  std::size_t count = 0;
  OK(cuGraphGetNodes(graph.handle, nullptr, &count));
  CHECK_EQ(count, 2);
  CUgraphNode nodes[3] = {a, a, a};
  count = 3;
  OK(cuGraphGetNodes(graph.handle, nodes, &count));
  CHECK_EQ(count, 2);
  CHECK_EQ(nodes[0], a);
  CHECK_EQ(nodes[1], b);
  CHECK_EQ(nodes[2], nullptr);
  count = 3;
  OK(cuGraphGetRootNodes(graph.handle, nodes, &count));
  CHECK_EQ(count, 1);
  CHECK_EQ(nodes[0], a);
}

TEST_CASE("edges are added once, removed once, and told with both ends") {
  const TestContext context;
  const TestGraph graph;
  const CUgraphNode a = graph.empty(), b = graph.empty();
  OK(cuGraphAddDependencies(graph.handle, &a, &b, 1));
  CHECK_EQ(cuGraphAddDependencies(graph.handle, &a, &b, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddDependencies(graph.handle, &a, &a, 1), CUDA_ERROR_INVALID_VALUE);
  CUgraphNode from = nullptr, to = nullptr;
  std::size_t count = 1;
  OK(cuGraphGetEdges(graph.handle, &from, &to, &count));
  CHECK_EQ(count, 1);
  CHECK_EQ(from, a);
  CHECK_EQ(to, b);
  CUgraphNode near = nullptr;
  count = 1;
  OK(cuGraphNodeGetDependencies(b, &near, &count));
  CHECK_EQ(near, a);
  count = 1;
  OK(cuGraphNodeGetDependentNodes(a, &near, &count));
  CHECK_EQ(near, b);
  OK(cuGraphRemoveDependencies(graph.handle, &a, &b, 1));
  CHECK_EQ(cuGraphRemoveDependencies(graph.handle, &a, &b, 1), CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphGetEdges(graph.handle, nullptr, nullptr, &count));
  CHECK_EQ(count, 0);
}

TEST_CASE("of several edges that are added together, all are there or none") {
  const TestContext context;
  const TestGraph graph;
  const CUgraphNode a = graph.empty(), b = graph.empty();
  const CUgraphNode from[] = {a, a}, to[] = {b, b};
  CHECK_EQ(cuGraphAddDependencies(graph.handle, from, to, 2), CUDA_ERROR_INVALID_VALUE);
  std::size_t count = 9;
  OK(cuGraphGetEdges(graph.handle, nullptr, nullptr, &count));
  CHECK_EQ(count, 0);
}

TEST_CASE("an edge with data of its own is not told without room for the data") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUfunction add_one = kernel("add_one");
  const CUgraphNode a = graph.add_one(add_one, buffer), b = graph.add_one(add_one, buffer), e = graph.empty();
  CUgraphEdgeData data{};
  data.from_port = CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER;
  data.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
  CHECK_EQ(cuGraphAddDependencies_v2(graph.handle, &a, &e, &data, 1),
           CUDA_ERROR_INVALID_VALUE);  // between kernels only
  OK(cuGraphAddDependencies_v2(graph.handle, &a, &b, &data, 1));
  CUgraphNode from = nullptr, to = nullptr;
  std::size_t count = 1;
  CHECK_EQ(cuGraphGetEdges(graph.handle, &from, &to, &count), CUDA_ERROR_LOSSY_QUERY);
  CHECK_EQ(cuGraphNodeGetDependencies(b, &from, &count), CUDA_ERROR_LOSSY_QUERY);
  CUgraphEdgeData told{};
  OK(cuGraphGetEdges_v2(graph.handle, &from, &to, &told, &count));
  CHECK_EQ(told.from_port, data.from_port);
  CHECK_EQ(cuGraphRemoveDependencies(graph.handle, &a, &b, 1), CUDA_ERROR_INVALID_VALUE);  // the data must match
  OK(cuGraphRemoveDependencies_v2(graph.handle, &a, &b, &data, 1));
  data.to_port = 1;
  CHECK_EQ(cuGraphAddDependencies_v2(graph.handle, &a, &b, &data, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a destroyed node takes its edges along and its handle is none") {
  const TestContext context;
  const TestGraph graph;
  const CUgraphNode a = graph.empty(), b = graph.empty({a}), c = graph.empty({b});
  OK(cuGraphDestroyNode(b));
  CHECK_EQ(cuGraphDestroyNode(b), CUDA_ERROR_INVALID_VALUE);
  std::size_t count = 9;
  OK(cuGraphNodeGetDependencies(c, nullptr, &count));
  CHECK_EQ(count, 0);
  CUgraphNodeType type{};
  CHECK_EQ(cuGraphNodeGetType(b, &type), CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphNodeGetType(a, &type));
  CHECK_EQ(type, CU_GRAPH_NODE_TYPE_EMPTY);
}

TEST_CASE("a destroyed graph takes its nodes' handles along, and its executable graphs go on") {
  const TestContext context;
  Buffer buffer;
  CUgraph graph = nullptr;
  OK(cuGraphCreate(&graph, 0));
  CUgraphNode node = nullptr;
  const auto parameters = TestGraph::fill_parameters(buffer, 7);
  OK(cuGraphAddMemsetNode(&node, graph, nullptr, 0, &parameters, context.handle));
  const Exec exec(graph);
  OK(cuGraphDestroy(graph));
  CHECK_EQ(cuGraphDestroy(graph), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphDestroyNode(node), CUDA_ERROR_INVALID_VALUE);
  exec.run();
  CHECK_EQ(buffer.word(), 7);
}

TEST_CASE("a clone has nodes of its own that are found by their originals") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode a = graph.fill(buffer, 1), b = graph.fill(buffer, 2, {a});
  CUgraph clone = nullptr;
  OK(cuGraphClone(&clone, graph.handle));
  CUgraphNode twin = nullptr, before = nullptr;
  OK(cuGraphNodeFindInClone(&twin, b, clone));
  CHECK_NE(twin, b);
  std::size_t count = 1;
  OK(cuGraphNodeGetDependencies(twin, &before, &count));
  CUgraphNode twin_of_a = nullptr;
  OK(cuGraphNodeFindInClone(&twin_of_a, a, clone));
  CHECK_EQ(before, twin_of_a);
  const auto changed = TestGraph::fill_parameters(buffer, 9);
  OK(cuGraphMemsetNodeSetParams(twin, &changed));
  CUDA_MEMSET_NODE_PARAMS told{};
  OK(cuGraphMemsetNodeGetParams(b, &told));
  CHECK_EQ(told.value, 2);  // the original is as it was
  const TestGraph other;
  CHECK_EQ(cuGraphNodeFindInClone(&twin, b, other.handle), CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphDestroy(clone));
}

TEST_CASE("a child node's graph is a copy that belongs to the node") {
  const TestContext context;
  const TestGraph graph, inner;
  Buffer buffer;
  const CUfunction add_one = kernel("add_one");
  (void)inner.add_one(add_one, buffer);
  CUgraphNode child = nullptr;
  OK(cuGraphAddChildGraphNode(&child, graph.handle, nullptr, 0, inner.handle));
  (void)inner.add_one(add_one, buffer);  // no longer matters
  CUgraph embedded = nullptr;
  OK(cuGraphChildGraphNodeGetGraph(child, &embedded));
  CHECK_NE(embedded, inner.handle);
  std::size_t count = 0;
  OK(cuGraphGetNodes(embedded, nullptr, &count));
  CHECK_EQ(count, 1);
  CHECK_EQ(cuGraphDestroy(embedded), CUDA_ERROR_INVALID_VALUE);
  (void)graph.add_one(add_one, buffer, {child});
  const Exec exec(graph.handle);
  exec.run();
  CHECK_EQ(buffer.word(), 2);
  CHECK_EQ(cuGraphAddChildGraphNode(&child, graph.handle, nullptr, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a node's parameters are told as they were given, and belong to the node") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUfunction add_one = kernel("add_one");
  const CUgraphNode k = graph.add_one(add_one, buffer);
  CUDA_KERNEL_NODE_PARAMS told{};
  OK(cuGraphKernelNodeGetParams_v2(k, &told));
  CHECK_EQ(told.func, add_one);
  CHECK_EQ(told.blockDimX, words_in_buffer);
  CHECK_EQ(told.ctx, context.handle);
  REQUIRE(told.kernelParams);
  CHECK_EQ(*static_cast<CUdeviceptr*>(told.kernelParams[0]), buffer.at);
  CHECK_EQ(*static_cast<std::uint32_t*>(told.kernelParams[1]), words_in_buffer);
  OK(cuGraphKernelNodeSetParams_v2(k, &told));  // from the node's own memory
  std::uint32_t source = 5;
  auto copy = row_copy(buffer.at, &source, 4);
  CUgraphNode c = nullptr;
  OK(cuGraphAddMemcpyNode(&c, graph.handle, nullptr, 0, &copy, context.handle));
  CUDA_MEMCPY3D copied{};
  OK(cuGraphMemcpyNodeGetParams(c, &copied));
  CHECK_EQ(copied.srcHost, &source);
  CHECK_EQ(copied.dstDevice, buffer.at);
  CHECK_EQ(cuGraphMemsetNodeGetParams(c, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUDA_HOST_NODE_PARAMS host{};
  CHECK_EQ(cuGraphHostNodeGetParams(c, &host), CUDA_ERROR_INVALID_VALUE);  // of another type
}

TEST_CASE("parameters that make no sense are refused when the node is added") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  CUgraphNode node = nullptr;
  auto fill = TestGraph::fill_parameters(buffer, 1);
  fill.elementSize = 3;
  CHECK_EQ(cuGraphAddMemsetNode(&node, graph.handle, nullptr, 0, &fill, nullptr), CUDA_ERROR_INVALID_VALUE);
  fill = TestGraph::fill_parameters(buffer, 256);
  fill.elementSize = 1;
  CHECK_EQ(cuGraphAddMemsetNode(&node, graph.handle, nullptr, 0, &fill, nullptr), CUDA_ERROR_INVALID_VALUE);
  auto copy = row_copy(buffer.at, &fill, 0);
  CHECK_EQ(cuGraphAddMemcpyNode(&node, graph.handle, nullptr, 0, &copy, nullptr), CUDA_ERROR_INVALID_VALUE);
  const CUDA_HOST_NODE_PARAMS host{nullptr, nullptr};
  CHECK_EQ(cuGraphAddHostNode(&node, graph.handle, nullptr, 0, &host), CUDA_ERROR_INVALID_VALUE);
  auto launch = TestGraph::kernel_parameters(nullptr, nullptr);
  CHECK_EQ(cuGraphAddKernelNode_v2(&node, graph.handle, nullptr, 0, &launch), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphAddEventRecordNode(&node, graph.handle, nullptr, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(graph.size(), 0);
}

TEST_CASE("cuGraphAddNode takes any type, and no stray bytes behind it") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  CUgraphNodeParams parameters{};
  parameters.type = CU_GRAPH_NODE_TYPE_MEMSET;
  parameters.memset = {buffer.at, 0, 3, 4, words_in_buffer, 1, context.handle};
  CUgraphNode node = nullptr;
  OK(cuGraphAddNode_v2(&node, graph.handle, nullptr, nullptr, 0, &parameters));
  parameters.memset.value = 4;
  OK(cuGraphNodeSetParams(node, &parameters));
  parameters.reserved2 = 1;
  CHECK_EQ(cuGraphAddNode_v2(&node, graph.handle, nullptr, nullptr, 0, &parameters), CUDA_ERROR_INVALID_VALUE);
  const Exec exec(graph.handle);
  exec.run();
  CHECK_EQ(buffer.word(), 4);
}

TEST_CASE("conditional nodes and external semaphores are not supported") {
  const TestContext context;
  const TestGraph graph;
  CUgraphConditionalHandle handle = 0;
  CHECK_EQ(cuGraphConditionalHandleCreate(&handle, graph.handle, nullptr, 0, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuGraphConditionalHandleCreate(nullptr, graph.handle, nullptr, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CUgraphNodeParams parameters{};
  parameters.type = CU_GRAPH_NODE_TYPE_CONDITIONAL;
  CUgraphNode node = nullptr;
  CHECK_EQ(cuGraphAddNode_v2(&node, graph.handle, nullptr, nullptr, 0, &parameters), CUDA_ERROR_NOT_SUPPORTED);
  const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS signal{};
  CHECK_EQ(cuGraphAddExternalSemaphoresSignalNode(&node, graph.handle, nullptr, 0, &signal), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuGraphAddExternalSemaphoresSignalNode(&node, graph.handle, nullptr, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("kernel nodes have attributes that are kept, copied and checked") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUfunction add_one = kernel("add_one");
  const CUgraphNode a = graph.add_one(add_one, buffer), b = graph.add_one(add_one, buffer), e = graph.empty();
  CUkernelNodeAttrValue value{}, told{};
  value.priority = -2;
  OK(cuGraphKernelNodeSetAttribute(a, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, &value));
  OK(cuGraphKernelNodeCopyAttributes(b, a));
  OK(cuGraphKernelNodeGetAttribute(b, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, &told));
  CHECK_EQ(told.priority, -2);
  CUDA_KERNEL_NODE_PARAMS parameters{};
  OK(cuGraphKernelNodeGetParams_v2(b, &parameters));
  OK(cuGraphKernelNodeSetParams_v2(b, &parameters));
  OK(cuGraphKernelNodeGetAttribute(b, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, &told));
  CHECK_EQ(told.priority, -2);  // other parameters, the same attributes
  CHECK_EQ(cuGraphKernelNodeSetAttribute(e, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, &value), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphKernelNodeSetAttribute(a, static_cast<CUkernelNodeAttrID>(15), &value), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphKernelNodeGetAttribute(a, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a graph is printed as text for Graphviz, with its nodes and edges") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode a = graph.fill(buffer, 1);
  (void)graph.add_one(kernel("add_one"), buffer, {a});
  const std::string path = journal_path() + ".dot";
  OK(cuGraphDebugDotPrint(graph.handle, path.c_str(), CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE));
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::remove(path.c_str());
  CHECK_NE(text.find("digraph"), std::string::npos);
  CHECK_NE(text.find("MEMSET"), std::string::npos);
  CHECK_NE(text.find("add_one"), std::string::npos);
  CHECK_NE(text.find(" -> "), std::string::npos);
  CHECK_EQ(cuGraphDebugDotPrint(graph.handle, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphDebugDotPrint(graph.handle, "/no/such/folder/x", 0), CUDA_ERROR_OPERATING_SYSTEM);
}

TEST_CASE("a user object is destroyed with its last reference, of the program or of a graph or its executable") {
  const TestContext context;
  std::atomic<int> destroyed{0};
  const CUhostFn count = [](void* p) { ++*static_cast<std::atomic<int>*>(p); };
  CUuserObject object = nullptr;
  CHECK_EQ(cuUserObjectCreate(&object, &destroyed, count, 1, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuUserObjectCreate(&object, &destroyed, count, 0, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC),
           CUDA_ERROR_INVALID_VALUE);
  OK(cuUserObjectCreate(&object, &destroyed, count, 2, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
  OK(cuUserObjectRetain(object, 1));
  OK(cuUserObjectRelease(object, 2));
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  OK(cuGraphCreate(&graph, 0));
  OK(cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE));
  CHECK_EQ(cuUserObjectRelease(object, 1), CUDA_ERROR_INVALID_VALUE);  // the program has none left
  CHECK_EQ(cuGraphReleaseUserObject(graph, object, 2), CUDA_ERROR_INVALID_VALUE);
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  CHECK_EQ(destroyed, 0);
  OK(cuGraphExecDestroy(exec));
  CHECK(eventually([&] { return destroyed == 1; }));
  CHECK_EQ(cuUserObjectRetain(object, 1), CUDA_ERROR_INVALID_VALUE);
}

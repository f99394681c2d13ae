// Memory that cannot move: it is not free, the broker is told of it, and what nobody uses of it leaves at an eviction.
#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

bool native_becomes(std::uint64_t bytes) {
  return comes_true([=] { return broker().up().native.load() == bytes; });
}

CUgraphExec instantiated(CUgraph graph) {
  CUgraphExec exec = nullptr;
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  return exec;
}

void launch(CUgraphExec exec) {
  OK(cuGraphLaunch(exec, nullptr));
  OK(cuCtxSynchronize());
}

// Uses so much memory while it runs.
CUgraphExec graph_with_memory(std::size_t bytes) {
  const CUstream s = make_stream();
  CUgraph graph = nullptr;
  CUdeviceptr at = 0;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuMemAllocAsync(&at, bytes, s));
  OK(cuMemsetD8Async(at, 1, bytes, s));
  OK(cuMemFreeAsync(at, s));
  OK(cuStreamEndCapture(s, &graph));
  OK(cuStreamDestroy_v2(s));
  return instantiated(graph);
}

CUDA_MEM_ALLOC_NODE_PARAMS allocation(std::size_t bytes) {
  CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
  parameters.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  parameters.poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  parameters.bytesize = bytes;
  return parameters;
}

// By each of the functions that make a node.
CUgraph graph_by(unsigned function, std::size_t bytes, CUdeviceptr* at) {
  (void)context();
  CUgraph graph = nullptr;
  CUgraphNode node = nullptr;
  OK(cuGraphCreate(&graph, 0));
  CUgraphNodeParams any{};
  any.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
  CUDA_MEM_ALLOC_NODE_PARAMS own = allocation(bytes);
  any.alloc.poolProps = own.poolProps;
  any.alloc.bytesize = bytes;
  if (function == 0) OK(cuGraphAddMemAllocNode(&node, graph, nullptr, 0, &own));
  if (function == 1) OK(cuGraphAddNode(&node, graph, nullptr, 0, &any));
  if (function == 2) OK(cuGraphAddNode_v2(&node, graph, nullptr, nullptr, 0, &any));
  *at = function == 0 ? own.dptr : any.alloc.dptr;
  return graph;
}

bool grows_by(std::size_t before, std::size_t bytes) {
  return comes_true([=] { return free_on_card() >= before + bytes; });
}

}  // namespace

TEST_CASE("what a graph keeps between launches is counted, and leaves the card at an eviction") {
  broker().give_backing(64 * mib);
  const CUgraphExec exec = graph_with_memory(32 * mib);
  const std::size_t promised = promised_free();
  CUdeviceptr movable = 0;
  OK(cuMemAlloc_v2(&movable, 20 * mib));
  fill(movable, 20 * mib, 1);
  demand(broker().evict_to(0) && broker().restore(), "the mover has all that it needs of the card");
  for (unsigned round = 0; round < 2; ++round) {
    launch(exec);
    CHECK(promised - promised_free() == 52 * mib);
    CHECK(native_becomes(32 * mib));
    CUdeviceptr too_much = 0;
    CHECK(cuMemAlloc_v2(&too_much, promised - 48 * mib) == CUDA_ERROR_OUT_OF_MEMORY);
    const std::size_t before = free_on_card();
    demand(broker().evict_to(0), "the memory leaves");
    CHECK(grows_by(before, 52 * mib));
    CHECK(native_becomes(0));
    demand(broker().restore(), "the memory comes back");
    CHECK(intact(movable, 20 * mib, 1));
  }
  OK(cuMemFree_v2(movable));
  OK(cuGraphExecDestroy(exec));
}

TEST_CASE("what graphs have allocated and not freed stays where it is, whatever made the nodes") {
  for (unsigned function = 0; function < 3; ++function) {
    CUdeviceptr at = 0;
    const CUgraphExec exec = instantiated(graph_by(function, 8 * mib, &at));
    launch(exec);
    CHECK(native_becomes(8 * mib));
    fill(at, 8 * mib, function);
    demand(broker().evict_to(0), "the memory leaves");
    demand(broker().restore(), "the memory comes back");
    CHECK(intact(at, 8 * mib, function));
    CHECK(native_becomes(8 * mib));
    OK(cuMemFreeAsync(at, nullptr));
    OK(cuCtxSynchronize());
    OK(cuGraphExecDestroy(exec));
    CHECK(native_becomes(0));
  }
}

TEST_CASE("nothing of graphs is trimmed while a capture is open, and it is after the capture") {
  const CUgraphExec exec = graph_with_memory(16 * mib);
  launch(exec);
  const CUstream s = make_stream();
  CUgraph graph = nullptr;
  close_gate();
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  const std::size_t before = free_on_card(), trims = calls("cuDeviceGraphMemTrim");
  for (const std::uint64_t quota : {0, 1, 0}) {  // with the second and third seen, the first has been followed
    broker().quota(quota);
    demand(comes_true([&] { return broker().up().seen_quota_plus_1.load() == quota + 1; }), "the quota is seen");
  }
  CHECK(calls("cuDeviceGraphMemTrim") == trims);
  OK(cuStreamEndCapture(s, &graph));
  CHECK(grows_by(before, 16 * mib));
  CHECK(calls("cuDeviceGraphMemTrim") > trims);
  demand(broker().restore(), "the program goes on");
  OK(cuGraphDestroy(graph));
  OK(cuGraphExecDestroy(exec));
  OK(cuStreamDestroy_v2(s));
}

TEST_CASE("arrays are not free, and the broker is told of them, until they are destroyed") {
  const std::size_t before = promised_free();
  CUDA_ARRAY_DESCRIPTOR flat{};
  flat.Width = 1024, flat.Height = 1024, flat.Format = CU_AD_FORMAT_FLOAT, flat.NumChannels = 2;
  CUDA_ARRAY3D_DESCRIPTOR deep{};
  deep.Width = 256, deep.Height = 256, deep.Depth = 16, deep.Format = CU_AD_FORMAT_UNSIGNED_INT16, deep.NumChannels = 4;
  CUDA_ARRAY3D_DESCRIPTOR levels{};
  levels.Width = 1024, levels.Height = 1024, levels.Format = CU_AD_FORMAT_UNSIGNED_INT8, levels.NumChannels = 4;
  CUarray first = nullptr, second = nullptr;
  CUmipmappedArray third = nullptr;
  OK(cuArrayCreate_v2(&first, &flat));
  CHECK(native_becomes(8 * mib));
  OK(cuArray3DCreate_v2(&second, &deep));
  CHECK(before - promised_free() == 16 * mib);
  OK(cuMipmappedArrayCreate(&third, &levels, 2));
  CHECK(native_becomes(21 * mib));
  CHECK(before - promised_free() == 21 * mib);
  OK(cuArrayDestroy(first));
  OK(cuArrayDestroy(second));
  OK(cuMipmappedArrayDestroy(third));
  CHECK(native_becomes(0));
  CHECK(promised_free() == before);
}

TEST_CASE("arrays go with their context") {
  const std::size_t before = promised_free();
  CUcontext own = nullptr;
  CUDA_ARRAY_DESCRIPTOR flat{};
  flat.Width = 1024, flat.Height = 1024, flat.Format = CU_AD_FORMAT_FLOAT, flat.NumChannels = 1;
  CUarray array = nullptr;
  OK(cuCtxCreate_v2(&own, 0, 0));
  OK(cuArrayCreate_v2(&array, &flat));
  CHECK(before - promised_free() == 4 * mib);
  OK(cuCtxDestroy_v2(own));
  CHECK(promised_free() == before);
}

}  // namespace lull::hazards

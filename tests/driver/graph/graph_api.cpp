// Graphs that were captured: instantiate, launch, look at.
#include <algorithm>

#include "tests/driver/context/context.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult instantiate(CUgraphExec* out, CUgraph handle) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto graph = registry<Graph>().find(handle);
  if (!out || !graph) return CUDA_ERROR_INVALID_VALUE;
  auto exec = std::make_shared<GraphExec>();
  exec->nodes = graph->nodes;
  *out = reinterpret_cast<CUgraphExec>(registry<GraphExec>().add(std::move(exec)));
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphCreate(CUgraph* phGraph, unsigned flags) {
  if (!phGraph || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  *phGraph = reinterpret_cast<CUgraph>(registry<Graph>().add(std::make_shared<Graph>()));
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph hGraph) {
  return registry<Graph>().remove(hGraph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long) {
  return instantiate(exec, graph);
}

CUresult cuGraphInstantiate_v2(CUgraphExec* exec, CUgraph graph, CUgraphNode* errorNode, char* log, size_t bytes) {
  if (errorNode) *errorNode = nullptr;
  if (log && bytes) *log = 0;
  return instantiate(exec, graph);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* params) {
  if (!params) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = instantiate(exec, graph);
  params->hErrNode_out = nullptr;
  params->result_out = result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  return result;
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
  return registry<GraphExec>().remove(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  return registry<GraphExec>().find(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;  // nothing is kept on the card
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const auto exec = registry<GraphExec>().find(handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  // One piece of work: nothing comes between the nodes of a graph, and it fills one place of the queue.
  return submit(*stream, CU_GRAPH_NODE_TYPE_GRAPH, [exec](Running& running) {
    for (const auto& node : exec->nodes) {
      if (running.life.stop) return CUDA_SUCCESS;
      running.end_ns = 0;
      if (const CUresult failed = node->work(running)) return failed;
      if (running.end_ns) running.ready_ns = std::max(running.ready_ns, running.end_ns);
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numNodes) {
  const auto graph = registry<Graph>().find(hGraph);
  if (!graph || !numNodes) return CUDA_ERROR_INVALID_VALUE;
  const std::size_t room = nodes ? *numNodes : 0;
  for (std::size_t i = 0; i < room; ++i) {
    nodes[i] = i < graph->nodes.size() ? reinterpret_cast<CUgraphNode>(graph->nodes[i].get()) : nullptr;
  }
  *numNodes = nodes ? std::min(room, graph->nodes.size()) : graph->nodes.size();
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType* type) {
  if (!type) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& graph : registry<Graph>().all()) {
    for (const auto& node : graph->nodes) {
      if (reinterpret_cast<CUgraphNode>(node.get()) != hNode) continue;
      *type = node->type;
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace lull::sim::api

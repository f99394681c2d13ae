// Executable graphs: instantiate, upload, launch, destroy.
#include <algorithm>

#include "tests/driver/card/settings.h"
#include "tests/driver/context/context.h"
#include "tests/driver/graph/exec.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

constexpr unsigned long long known_flags =
    CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
    CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;

struct Problem {
  CUgraphInstantiateResult kind = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  CUgraphNode node = nullptr;
};

// Locked. Graphs that depend on themselves, here or in a child, cannot run.
CUresult check_structure(const Graph& graph, Problem& problem) {
  Node* stuck = nullptr;
  (void)in_order(graph, &stuck);
  if (stuck) {
    problem = {CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE, handle_of(*stuck)};
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (const auto& node : graph.nodes) {
    const Graph* child = child_of(*node);
    const CUresult wrong = child ? check_structure(*child, problem) : CUDA_SUCCESS;
    if (wrong) return wrong;
  }
  return CUDA_SUCCESS;
}

CUresult check_flags(unsigned long long flags) {
  if (flags & ~known_flags) return CUDA_ERROR_INVALID_VALUE;
  if (!(flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)) return CUDA_SUCCESS;
  // Launches from the device need its runtime library; with the automatic free they are not allowed at all.
  return flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult instantiate(CUgraphExec* out, CUgraph handle, unsigned long long flags, Problem& problem) {
  problem.kind = CUDA_GRAPH_INSTANTIATE_ERROR;
  const Found context = current_context();
  if (!context) return context.error;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check_flags(flags)) return wrong;
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(handle);
  if (!graph || graph->captured_into) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check_structure(*graph, problem)) return wrong;
  const bool memory = has_memory_nodes(*graph);
  if (memory && graph->executables != 0) return CUDA_ERROR_INVALID_VALUE;  // they own its memory: one at a time
  auto exec = std::make_shared<GraphExec>();
  exec->charge = NativeCharge::take(context->device(), settings().graph_bytes);
  if (!exec->charge) return CUDA_ERROR_OUT_OF_MEMORY;
  exec->graph = clone(*graph);
  exec->made_of = graph;
  exec->flags = flags;
  exec->context = context.context;
  ++graph->executables;
  problem = {};
  *out = reinterpret_cast<CUgraphExec>(registry<GraphExec>().add(std::move(exec)));
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
  Problem problem;
  if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) return CUDA_ERROR_INVALID_VALUE;  // there is no stream to do it in
  return instantiate(exec, graph, flags, problem);
}

CUresult cuGraphInstantiate_v2(CUgraphExec* exec, CUgraph graph, CUgraphNode* errorNode, char* log, size_t bytes) {
  Problem problem;
  const CUresult result = instantiate(exec, graph, 0, problem);
  if (errorNode) *errorNode = problem.node;
  if (log && bytes) *log = 0;
  return result;
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* params) {
  if (!params) return CUDA_ERROR_INVALID_VALUE;
  Problem problem;
  CUresult result = instantiate(exec, graph, params->flags, problem);
  if (result == CUDA_SUCCESS && (params->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD)) {
    result = api::cuGraphUpload(*exec, params->hUploadStream);
    if (result != CUDA_SUCCESS) {
      (void)api::cuGraphExecDestroy(*exec);
      problem.kind = CUDA_GRAPH_INSTANTIATE_ERROR;
    }
  }
  params->hErrNode_out = problem.node;
  params->result_out = problem.kind;
  return result;
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
  const auto exec = registry<GraphExec>().remove(handle);  // a launch in flight keeps what it needs
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(graph_mutex());
  if (const auto graph = exec->made_of.lock()) --graph->executables;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t* flags) {
  const auto exec = registry<GraphExec>().find(handle);
  if (!exec || !flags) return CUDA_ERROR_INVALID_VALUE;
  // The upload was part of making it.
  *flags = exec->flags & ~static_cast<unsigned long long>(CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD);
  return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const auto exec = registry<GraphExec>().find(handle);
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = forbidden_in_capture(*stream)) return refused;
  // Its memory was charged when it was made; what is left is the order behind earlier launches.
  const std::scoped_lock lock(exec->order);
  std::vector<Ticket> behind;
  if (exec->last.stream) behind.push_back(exec->last);
  return submit(*stream, std::make_shared<EmptyOperation>(), std::move(behind), &exec->last);
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const auto exec = registry<GraphExec>().find(handle);
  return exec ? launch_graph(exec, *stream) : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace lull::sim::api

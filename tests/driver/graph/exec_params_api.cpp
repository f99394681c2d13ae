// Changes of executable graphs: one node's parameters, whether it runs, or all of them by another graph.
#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/context/context.h"
#include "tests/driver/graph/parameters.h"
#include "tests/driver/graph/update.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// The node of an executable graph that was made of this one. Needs graph_mutex().
struct Found {
  std::shared_ptr<GraphExec> exec;
  Node* node = nullptr;
  explicit operator bool() const { return node != nullptr; }
};
Found find(CUgraphExec hExec, CUgraphNode hNode) {
  auto exec = registry<GraphExec>().find(hExec);
  const auto node = find_node(hNode);
  if (!exec || !node) return {};
  Node* own = find_clone(*exec->graph, node->id);
  return {std::move(exec), own};
}

bool one_dimensional(const Operation& operation) {
  const auto* copy = dynamic_cast<const CopyOperation*>(&operation);
  return !copy || (copy->box().height == 1 && copy->box().depth == 1);
}

CUresult replace(CUgraphExec hExec, CUgraphNode hNode, Made made) {
  const std::scoped_lock lock(graph_mutex());
  const Found found = find(hExec, hNode);
  if (!found || found.node->operation->type() != made.operation->type()) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = keep_attributes(*found.node, made)) return wrong;
  if (!one_dimensional(*made.operation) || !one_dimensional(*found.node->operation)) return CUDA_ERROR_INVALID_VALUE;
  if (may_become(*found.exec, *found.node, made) != CU_GRAPH_EXEC_UPDATE_SUCCESS) return CUDA_ERROR_INVALID_VALUE;
  if (const auto* child = dynamic_cast<const ChildOperation*>(made.operation.get())) {
    const auto info = update(*found.exec, *child_of(*found.node), *child->graph());
    return info.result == CU_GRAPH_EXEC_UPDATE_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  found.node->operation = std::move(made.operation);
  return CUDA_SUCCESS;
}

template <class P>
CUresult set(CUgraphExec exec, CUgraphNode node, const P* parameters) {
  Made made;
  if (!parameters || !registry<GraphExec>().find(exec)) return CUDA_ERROR_INVALID_VALUE;
  const CUresult wrong = make(*parameters, made);
  return wrong ? wrong : replace(exec, node, std::move(made));
}

bool can_be_disabled(const Node& node) {
  const CUgraphNodeType type = node.operation->type();
  return type == CU_GRAPH_NODE_TYPE_KERNEL || type == CU_GRAPH_NODE_TYPE_MEMCPY || type == CU_GRAPH_NODE_TYPE_MEMSET;
}

CUresult absent(CUgraphExec exec, const void* parameters) {
  return parameters && registry<GraphExec>().find(exec) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS_v1* p) {
  return set(e, n, p);
}
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS* p) {
  return set(e, n, p);
}
CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_MEMCPY3D* copy, CUcontext ctx) {
  const CopyParameters p{copy, ctx};
  return set(e, n, &p);
}
CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS* fill,
                                        CUcontext ctx) {
  if (!fill) return CUDA_ERROR_INVALID_VALUE;
  const FillParameters p{*fill, ctx};
  return set(e, n, &p);
}
CUresult cuGraphExecHostNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_HOST_NODE_PARAMS* p) {
  return set(e, n, p);
}
CUresult cuGraphExecBatchMemOpNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_BATCH_MEM_OP_NODE_PARAMS* p) {
  return set(e, n, p);
}
CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec e, CUgraphNode n, CUgraph child) {
  const CUDA_CHILD_GRAPH_NODE_PARAMS p{child, CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE};
  return set(e, n, &p);
}
CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec e, CUgraphNode n, CUevent event) {
  const RecordParameters p{event};
  return set(e, n, &p);
}
CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec e, CUgraphNode n, CUevent event) {
  const WaitParameters p{event};
  return set(e, n, &p);
}
CUresult cuGraphExecNodeSetParams(CUgraphExec e, CUgraphNode n, CUgraphNodeParams* p) { return set(e, n, p); }
CUresult cuGraphExecExternalSemaphoresSignalNodeSetParams(CUgraphExec e, CUgraphNode,
                                                          const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS* p) {
  return absent(e, p);
}
CUresult cuGraphExecExternalSemaphoresWaitNodeSetParams(CUgraphExec e, CUgraphNode,
                                                        const CUDA_EXT_SEM_WAIT_NODE_PARAMS* p) {
  return absent(e, p);
}

CUresult cuGraphNodeSetEnabled(CUgraphExec hExec, CUgraphNode hNode, unsigned isEnabled) {
  const std::scoped_lock lock(graph_mutex());
  const Found found = find(hExec, hNode);
  if (!found || !can_be_disabled(*found.node)) return CUDA_ERROR_INVALID_VALUE;
  found.node->enabled = isEnabled != 0;
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec hExec, CUgraphNode hNode, unsigned* isEnabled) {
  const std::scoped_lock lock(graph_mutex());
  const Found found = find(hExec, hNode);
  if (!found || !isEnabled || !can_be_disabled(*found.node)) return CUDA_ERROR_INVALID_VALUE;
  *isEnabled = found.node->enabled ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hExec, CUgraph hGraph, CUgraphExecUpdateResultInfo* info) {
  const std::scoped_lock lock(graph_mutex());
  const auto exec = registry<GraphExec>().find(hExec);
  const auto graph = find_graph(hGraph);
  if (!info) return CUDA_ERROR_INVALID_VALUE;
  *info = {CU_GRAPH_EXEC_UPDATE_ERROR, nullptr, nullptr};
  if (!exec || !graph) return CUDA_ERROR_INVALID_VALUE;
  *info = update(*exec, *exec->graph, *graph);
  return info->result == CU_GRAPH_EXEC_UPDATE_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
}

CUresult cuGraphExecUpdate(CUgraphExec hExec, CUgraph hGraph, CUgraphNode* errorNode, CUgraphExecUpdateResult* result) {
  if (!result) return CUDA_ERROR_INVALID_VALUE;
  CUgraphExecUpdateResultInfo info{};
  const CUresult answer = api::cuGraphExecUpdate_v2(hExec, hGraph, &info);
  if (errorNode) *errorNode = info.errorNode;
  *result = info.result;
  return answer;
}

}  // namespace lull::sim::api

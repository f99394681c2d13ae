// The calls that add nodes of each type, and that ask for and change their parameters.
//
// Not there, as on a card that lacks them: external semaphores (nothing here can be shared with a graphics interface)
// and conditional nodes (their handles are set by the device runtime). Both answer CUDA_ERROR_NOT_SUPPORTED.
#include "tests/driver/context/context.h"
#include "tests/driver/graph/parameters.h"
#include "tests/driver/registry.h"
#include "tests/driver/stream/event.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

struct Place {
  CUgraphNode* out;
  CUgraph graph;
  const CUgraphNode* behind;
  size_t count;
  const CUgraphEdgeData* edges = nullptr;
};

CUresult check(const Place& place) {
  const std::scoped_lock lock(graph_mutex());
  return place.out && find_graph(place.graph) && (place.behind || place.count == 0) ? CUDA_SUCCESS
                                                                                    : CUDA_ERROR_INVALID_VALUE;
}

CUresult put(const Place& place, Made made) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(place.graph);
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  Node* node = nullptr;
  const EdgeList behind{{place.behind, place.count}, place.edges};
  const CUresult failed = add_node(*graph, std::move(made.operation), std::move(made.context), behind, node);
  if (failed == CUDA_SUCCESS) *place.out = handle_of(*node);
  return failed;
}

template <class P>
CUresult add(const Place& place, const P* parameters) {
  if (const CUresult wrong = check(place)) return wrong;
  Made made;
  if (!parameters) return CUDA_ERROR_INVALID_VALUE;
  const CUresult wrong = make(*parameters, made);
  return wrong ? wrong : put(place, std::move(made));
}

CUresult add_allocation(const Place& place, CUDA_MEM_ALLOC_NODE_PARAMS_v2& p) {
  CUDA_MEM_ALLOC_NODE_PARAMS same{p.poolProps, p.accessDescs, p.accessDescCount, p.bytesize, 0};
  const CUresult failed = api::cuGraphAddMemAllocNode(place.out, place.graph, place.behind, place.count, &same);
  if (failed == CUDA_SUCCESS) p.dptr = same.dptr;
  return failed;
}

CUresult absent(const Place& place, const void* parameters) {
  if (const CUresult wrong = check(place)) return wrong;
  return parameters ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

template <class P>
CUresult get(CUgraphNode hNode, P* out) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  return node && out ? tell(*node, *out) : CUDA_ERROR_INVALID_VALUE;
}

// A node's type never changes.
CUresult replace(CUgraphNode hNode, Made made) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  if (!node || node->operation->type() != made.operation->type()) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = keep_attributes(*node, made)) return wrong;
  if (Graph* child = child_of(*node)) withdraw(*child);
  node->operation = std::move(made.operation);
  node->context = std::move(made.context);
  if (Graph* child = child_of(*node)) publish(child->shared_from_this());
  return CUDA_SUCCESS;
}

template <class P>
CUresult set(CUgraphNode hNode, const P* parameters) {
  Made made;
  if (!parameters) return CUDA_ERROR_INVALID_VALUE;
  const CUresult wrong = make(*parameters, made);
  return wrong ? wrong : replace(hNode, std::move(made));
}

// Where the call does not say in which context, the node stays in its own.
CUcontext context_of(CUgraphNode hNode) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  return node ? handle_of(node->context.lock().get()) : nullptr;
}

template <class Operation>
CUresult event_of(CUgraphNode hNode, CUevent* out) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  const auto* operation = node ? operation_of<Operation>(*node) : nullptr;
  if (!operation || !out) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUevent>(operation->event().get());
  return CUDA_SUCCESS;
}

// There is no node of that type, so whatever node it is, it is of another.
CUresult absent_of(CUgraphNode hNode, const void* parameters) {
  const std::scoped_lock lock(graph_mutex());
  return !parameters || find_node(hNode) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace

CUresult cuGraphAddKernelNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c,
                              const CUDA_KERNEL_NODE_PARAMS_v1* p) {
  return add({n, g, d, c}, p);
}
CUresult cuGraphAddKernelNode_v2(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c,
                                 const CUDA_KERNEL_NODE_PARAMS* p) {
  return add({n, g, d, c}, p);
}
CUresult cuGraphKernelNodeGetParams(CUgraphNode n, CUDA_KERNEL_NODE_PARAMS_v1* p) { return get(n, p); }
CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode n, CUDA_KERNEL_NODE_PARAMS* p) { return get(n, p); }
CUresult cuGraphKernelNodeSetParams(CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS_v1* p) { return set(n, p); }
CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS* p) { return set(n, p); }

CUresult cuGraphAddMemcpyNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c, const CUDA_MEMCPY3D* copy,
                              CUcontext ctx) {
  const CopyParameters p{copy, ctx};
  return add({n, g, d, c}, &p);
}
CUresult cuGraphMemcpyNodeGetParams(CUgraphNode n, CUDA_MEMCPY3D* p) { return get(n, p); }
CUresult cuGraphMemcpyNodeSetParams(CUgraphNode n, const CUDA_MEMCPY3D* copy) {
  const CopyParameters p{copy, context_of(n)};
  return set(n, &p);
}

CUresult cuGraphAddMemsetNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c,
                              const CUDA_MEMSET_NODE_PARAMS* fill, CUcontext ctx) {
  if (!fill) return CUDA_ERROR_INVALID_VALUE;
  const FillParameters p{*fill, ctx};
  return add({n, g, d, c}, &p);
}
CUresult cuGraphMemsetNodeGetParams(CUgraphNode n, CUDA_MEMSET_NODE_PARAMS* p) { return get(n, p); }
CUresult cuGraphMemsetNodeSetParams(CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS* fill) {
  if (!fill) return CUDA_ERROR_INVALID_VALUE;
  const FillParameters p{*fill, context_of(n)};
  return set(n, &p);
}

CUresult cuGraphAddHostNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c, const CUDA_HOST_NODE_PARAMS* p) {
  return add({n, g, d, c}, p);
}
CUresult cuGraphHostNodeGetParams(CUgraphNode n, CUDA_HOST_NODE_PARAMS* p) { return get(n, p); }
CUresult cuGraphHostNodeSetParams(CUgraphNode n, const CUDA_HOST_NODE_PARAMS* p) { return set(n, p); }

CUresult cuGraphAddChildGraphNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c, CUgraph child) {
  const CUDA_CHILD_GRAPH_NODE_PARAMS p{child, CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE};
  return add({n, g, d, c}, &p);
}
CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph* out) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  const Graph* child = node ? child_of(*node) : nullptr;
  if (!child || !out) return CUDA_ERROR_INVALID_VALUE;
  *out = handle_of(*child);
  return CUDA_SUCCESS;
}

CUresult cuGraphAddEmptyNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c) {
  const Place place{n, g, d, c};
  if (const CUresult wrong = check(place)) return wrong;
  return put(place, {std::make_shared<EmptyOperation>(), {}});
}

CUresult cuGraphAddEventRecordNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c, CUevent event) {
  const RecordParameters p{event};
  return add({n, g, d, c}, &p);
}
CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode n, CUevent* out) { return event_of<RecordOperation>(n, out); }
CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode n, CUevent event) {
  const RecordParameters p{event};
  return set(n, &p);
}
CUresult cuGraphAddEventWaitNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c, CUevent event) {
  const WaitParameters p{event};
  return add({n, g, d, c}, &p);
}
CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode n, CUevent* out) { return event_of<AwaitOperation>(n, out); }
CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode n, CUevent event) {
  const WaitParameters p{event};
  return set(n, &p);
}

CUresult cuGraphAddBatchMemOpNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c,
                                  const CUDA_BATCH_MEM_OP_NODE_PARAMS* p) {
  return add({n, g, d, c}, p);
}
CUresult cuGraphBatchMemOpNodeGetParams(CUgraphNode n, CUDA_BATCH_MEM_OP_NODE_PARAMS* p) { return get(n, p); }
CUresult cuGraphBatchMemOpNodeSetParams(CUgraphNode n, const CUDA_BATCH_MEM_OP_NODE_PARAMS* p) { return set(n, p); }

CUresult cuGraphAddNode_v2(CUgraphNode* n, CUgraph g, const CUgraphNode* d, const CUgraphEdgeData* edges, size_t c,
                           CUgraphNodeParams* p) {
  if (p && !edges && p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) return add_allocation({n, g, d, c}, p->alloc);
  if (p && !edges && p->type == CU_GRAPH_NODE_TYPE_MEM_FREE)
    return api::cuGraphAddMemFreeNode(n, g, d, c, p->free.dptr);
  return add({n, g, d, c, edges}, p);
}
CUresult cuGraphAddNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c, CUgraphNodeParams* p) {
  return api::cuGraphAddNode_v2(n, g, d, nullptr, c, p);
}
CUresult cuGraphNodeSetParams(CUgraphNode n, CUgraphNodeParams* p) { return set(n, p); }

CUresult cuGraphAddExternalSemaphoresSignalNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c,
                                                const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS* p) {
  return absent({n, g, d, c}, p);
}
CUresult cuGraphAddExternalSemaphoresWaitNode(CUgraphNode* n, CUgraph g, const CUgraphNode* d, size_t c,
                                              const CUDA_EXT_SEM_WAIT_NODE_PARAMS* p) {
  return absent({n, g, d, c}, p);
}
CUresult cuGraphExternalSemaphoresSignalNodeGetParams(CUgraphNode n, CUDA_EXT_SEM_SIGNAL_NODE_PARAMS* p) {
  return absent_of(n, p);
}
CUresult cuGraphExternalSemaphoresSignalNodeSetParams(CUgraphNode n, const CUDA_EXT_SEM_SIGNAL_NODE_PARAMS* p) {
  return absent_of(n, p);
}
CUresult cuGraphExternalSemaphoresWaitNodeGetParams(CUgraphNode n, CUDA_EXT_SEM_WAIT_NODE_PARAMS* p) {
  return absent_of(n, p);
}
CUresult cuGraphExternalSemaphoresWaitNodeSetParams(CUgraphNode n, const CUDA_EXT_SEM_WAIT_NODE_PARAMS* p) {
  return absent_of(n, p);
}
CUresult cuGraphConditionalHandleCreate(CUgraphConditionalHandle* out, CUgraph hGraph, CUcontext, unsigned,
                                        unsigned flags) {
  const std::scoped_lock lock(graph_mutex());
  if (!out || !find_graph(hGraph) || (flags & ~unsigned{CU_GRAPH_COND_ASSIGN_DEFAULT})) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace lull::sim::api

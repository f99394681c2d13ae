// Graphs as structures: create, destroy, clone, nodes and the edges between them.
#include <algorithm>

#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// A list for the program: how many there are if it gives no room, else as many as fit and null behind them.
CUresult hand_out(const std::vector<Edge>& list, CUgraphNode* nodes, CUgraphEdgeData* data, size_t* count) {
  if (!count || (data && !nodes)) return CUDA_ERROR_INVALID_VALUE;
  if (nodes && !data && !std::ranges::all_of(list, [](const Edge& e) { return is_plain(e.data); }))
    return CUDA_ERROR_LOSSY_QUERY;
  const size_t room = nodes ? *count : 0;
  for (size_t i = 0; i < room; ++i) {
    nodes[i] = i < list.size() ? handle_of(*list[i].from) : nullptr;
    if (data) data[i] = i < list.size() ? list[i].data : CUgraphEdgeData{};
  }
  *count = nodes ? std::min(room, list.size()) : list.size();
  return CUDA_SUCCESS;
}

CUresult hand_out_nodes(CUgraph hGraph, CUgraphNode* nodes, size_t* count, bool roots_only) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Edge> list;
  for (const auto& node : graph->nodes) {
    if (!roots_only || node->dependencies.empty()) list.push_back({node.get(), {}});
  }
  return hand_out(list, nodes, nullptr, count);
}

CUresult hand_out_neighbours(CUgraphNode hNode, CUgraphNode* nodes, CUgraphEdgeData* data, size_t* count,
                             bool dependents) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  if (!node) return CUDA_ERROR_INVALID_VALUE;
  return hand_out(dependents ? dependents_of(*node) : node->dependencies, nodes, data, count);
}

using Change = CUresult (*)(Graph&, Node&, Node&, const CUgraphEdgeData&);

// All of the edges, or none where one cannot be.
CUresult change_edges(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to, const CUgraphEdgeData* data,
                      size_t count, Change change, Change back) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  if (!graph || (count && (!from || !to))) return CUDA_ERROR_INVALID_VALUE;
  CUresult result = CUDA_SUCCESS;
  size_t done = 0;
  const auto edge = [&](size_t i, Change with) {
    const auto a = find_node(from[i]), b = find_node(to[i]);
    if (!a || !b || a->graph != graph.get() || b->graph != graph.get()) return CUDA_ERROR_INVALID_VALUE;
    return with(*graph, *a, *b, data ? data[i] : CUgraphEdgeData{});
  };
  for (; done < count && result == CUDA_SUCCESS; ++done) result = edge(done, change);
  if (result == CUDA_SUCCESS) return result;
  for (size_t i = done - 1; i-- > 0;) (void)edge(i, back);  // the last one tried was not changed
  return result;
}

CUresult join(Graph& graph, Node& from, Node& to, const CUgraphEdgeData& data) {
  return connect(graph, from, to, data);
}
CUresult part(Graph&, Node& from, Node& to, const CUgraphEdgeData& data) { return disconnect(from, to, data); }

}  // namespace

CUresult cuGraphCreate(CUgraph* phGraph, unsigned flags) {
  if (!phGraph || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  auto graph = std::make_shared<Graph>();
  *phGraph = handle_of(*graph);
  registry<Graph>().add(std::move(graph));
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph hGraph) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  // A node's graph goes with its node, a captured one is the program's when the capture has ended.
  if (!graph || graph->owner != Graph::Owner::program || graph->captured_into) return CUDA_ERROR_INVALID_VALUE;
  withdraw(*graph);
  return CUDA_SUCCESS;
}

CUresult cuGraphClone(CUgraph* phGraphClone, CUgraph originalGraph) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(originalGraph);
  if (!phGraphClone || !graph || has_memory_nodes(*graph)) return CUDA_ERROR_INVALID_VALUE;
  const auto copy = clone(*graph);
  publish(copy);
  *phGraphClone = handle_of(*copy);
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(CUgraphNode* phNode, CUgraphNode hOriginalNode, CUgraph hClonedGraph) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hOriginalNode);
  const auto graph = find_graph(hClonedGraph);
  if (!phNode || !node || !graph || graph->origin != node->graph->id) return CUDA_ERROR_INVALID_VALUE;
  const Node* found = find_clone(*graph, node->id);
  if (!found) return CUDA_ERROR_INVALID_VALUE;
  *phNode = handle_of(*found);
  return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numNodes) {
  return hand_out_nodes(hGraph, nodes, numNodes, false);
}
CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numRootNodes) {
  return hand_out_nodes(hGraph, nodes, numRootNodes, true);
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* edgeData,
                            size_t* numEdges) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  if (!graph || !numEdges || !from != !to) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Edge> starts, ends;
  for (const auto& node : graph->nodes) {
    for (const Edge& edge : node->dependencies) {
      starts.push_back(edge);
      ends.push_back({node.get(), {}});
    }
  }
  size_t count = *numEdges;
  if (const CUresult failed = hand_out(starts, from, edgeData, numEdges)) return failed;
  return hand_out(ends, to, nullptr, from ? &count : numEdges);
}
CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, size_t* numEdges) {
  return api::cuGraphGetEdges_v2(hGraph, from, to, nullptr, numEdges);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode* nodes, CUgraphEdgeData* data, size_t* count) {
  return hand_out_neighbours(hNode, nodes, data, count, false);
}
CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode* nodes, size_t* count) {
  return hand_out_neighbours(hNode, nodes, nullptr, count, false);
}
CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode* nodes, CUgraphEdgeData* data, size_t* count) {
  return hand_out_neighbours(hNode, nodes, data, count, true);
}
CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode* nodes, size_t* count) {
  return hand_out_neighbours(hNode, nodes, nullptr, count, true);
}

CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* data, size_t count) {
  return change_edges(graph, from, to, data, count, join, part);
}
CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to, size_t count) {
  return change_edges(graph, from, to, nullptr, count, join, part);
}
CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                      const CUgraphEdgeData* data, size_t count) {
  {
    const std::scoped_lock lock(graph_mutex());
    const auto graph = find_graph(hGraph);
    if (graph && has_memory_nodes(*graph)) return CUDA_ERROR_INVALID_VALUE;
  }
  return change_edges(hGraph, from, to, data, count, part, join);
}
CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to, size_t count) {
  return api::cuGraphRemoveDependencies_v2(graph, from, to, nullptr, count);
}

CUresult cuGraphDestroyNode(CUgraphNode hNode) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  if (!node || node->graph->captured_into || has_memory_nodes(*node->graph)) return CUDA_ERROR_INVALID_VALUE;
  remove_node(*node);
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType* type) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  if (!node || !type) return CUDA_ERROR_INVALID_VALUE;
  *type = node->operation->type();
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api

#include "tests/driver/graph/graph.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "tests/driver/registry.h"

namespace lull::sim {
namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

// Only kernels have ports beside the default one, and only between kernels may an edge be programmatic.
bool makes_sense(const CUgraphEdgeData& data, const Node& from, CUgraphNodeType to) {
  const bool from_kernel = from.operation->type() == CU_GRAPH_NODE_TYPE_KERNEL;
  const bool programmatic = data.type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
  const bool zeroed = std::ranges::all_of(data.reserved, [](unsigned char c) { return c == 0; });
  if (!zeroed || data.to_port != 0 || data.type > CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC) return false;
  if (data.from_port > CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER || (data.from_port != 0 && !from_kernel)) return false;
  return !programmatic || (from_kernel && to == CU_GRAPH_NODE_TYPE_KERNEL);
}

bool depends_on(const Node& node, const Node& from) {
  return std::ranges::any_of(node.dependencies, [&](const Edge& e) { return e.from == &from; });
}

}  // namespace

Graph::Graph() : id(next_id()) {}

std::mutex& graph_mutex() {
  static auto& one = *new std::mutex;
  return one;
}

Graph* child_of(const Node& node) {
  const auto* child = dynamic_cast<const ChildOperation*>(node.operation.get());
  return child ? child->graph().get() : nullptr;
}

std::shared_ptr<Graph> find_graph(CUgraph handle) { return registry<Graph>().find(handle); }
std::shared_ptr<Node> find_node(CUgraphNode handle) { return registry<Node>().find(handle); }

void publish(const std::shared_ptr<Graph>& graph) {
  registry<Graph>().add(graph);
  for (const auto& node : graph->nodes) {
    registry<Node>().add(node);
    if (Graph* child = child_of(*node)) publish(child->shared_from_this());
  }
}

void withdraw(Graph& graph) {
  for (const auto& node : graph.nodes) {
    if (Graph* child = child_of(*node)) withdraw(*child);
    registry<Node>().remove(node.get());
  }
  registry<Graph>().remove(&graph);
}

CUresult add_node(Graph& graph, OperationPtr operation, std::weak_ptr<Context> context, const EdgeList& behind,
                  Node*& out) {
  auto node = std::make_shared<Node>();
  node->graph = &graph;
  node->operation = std::move(operation);
  node->context = std::move(context);
  node->id = next_id();
  for (std::size_t i = 0; i < behind.nodes.size(); ++i) {
    const auto from = find_node(behind.nodes[i]);
    const CUgraphEdgeData data = behind.data ? behind.data[i] : CUgraphEdgeData{};
    if (!from || from->graph != &graph || depends_on(*node, *from)) return CUDA_ERROR_INVALID_VALUE;
    if (!makes_sense(data, *from, node->operation->type())) return CUDA_ERROR_INVALID_VALUE;
    node->dependencies.push_back({from.get(), data});
  }
  out = node.get();
  registry<Node>().add(node);
  if (Graph* child = child_of(*node)) publish(child->shared_from_this());
  graph.nodes.push_back(std::move(node));
  return CUDA_SUCCESS;
}

CUresult connect(Graph& graph, Node& from, Node& to, const CUgraphEdgeData& data) {
  if (from.graph != &graph || to.graph != &graph || &from == &to || depends_on(to, from))
    return CUDA_ERROR_INVALID_VALUE;
  if (!makes_sense(data, from, to.operation->type())) return CUDA_ERROR_INVALID_VALUE;
  to.dependencies.push_back({&from, data});
  return CUDA_SUCCESS;
}

CUresult disconnect(Node& from, Node& to, const CUgraphEdgeData& data) {
  const auto edge = std::ranges::find_if(
      to.dependencies, [&](const Edge& e) { return e.from == &from && std::memcmp(&e.data, &data, sizeof data) == 0; });
  if (edge == to.dependencies.end()) return CUDA_ERROR_INVALID_VALUE;
  to.dependencies.erase(edge);
  return CUDA_SUCCESS;
}

void remove_node(Node& node) {
  Graph& graph = *node.graph;
  for (const auto& other : graph.nodes)
    std::erase_if(other->dependencies, [&](const Edge& e) { return e.from == &node; });
  if (Graph* child = child_of(node)) withdraw(*child);
  registry<Node>().remove(&node);
  std::erase_if(graph.nodes, [&](const auto& n) { return n.get() == &node; });
}

std::shared_ptr<Graph> clone(const Graph& graph) {
  auto copy = std::make_shared<Graph>();
  copy->origin = graph.id;
  copy->objects = graph.objects;
  std::unordered_map<const Node*, Node*> copies;
  for (const auto& node : graph.nodes) {
    auto made = std::make_shared<Node>(*node);
    made->graph = copy.get();
    made->id = next_id();
    made->origin = node->id;
    if (const Graph* child = child_of(*node)) {
      auto of_copy = clone(*child);
      of_copy->owner = Graph::Owner::node;
      made->operation = std::make_shared<ChildOperation>(std::move(of_copy));
    }
    copies[node.get()] = made.get();
    copy->nodes.push_back(std::move(made));
  }
  for (const auto& node : copy->nodes) {
    for (Edge& edge : node->dependencies) edge.from = copies.at(edge.from);
  }
  return copy;
}

Node* find_clone(Graph& graph, std::uint64_t origin) {
  for (const auto& node : graph.nodes) {
    if (node->origin == origin) return node.get();
    Graph* child = child_of(*node);
    if (Node* found = child ? find_clone(*child, origin) : nullptr) return found;
  }
  return nullptr;
}

bool is_plain(const CUgraphEdgeData& data) { return data.from_port == 0 && data.to_port == 0 && data.type == 0; }

bool has_memory_nodes(const Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const auto& node) {
    const CUgraphNodeType type = node->operation->type();
    const Graph* child = child_of(*node);
    return type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || type == CU_GRAPH_NODE_TYPE_MEM_FREE ||
           (child && has_memory_nodes(*child));
  });
}

std::vector<Node*> in_order(const Graph& graph, Node** stuck) {
  std::unordered_map<const Node*, std::size_t> missing;
  std::unordered_map<const Node*, std::vector<Node*>> dependents;
  std::vector<Node*> order;
  for (const auto& node : graph.nodes) {
    missing[node.get()] = node->dependencies.size();
    for (const Edge& edge : node->dependencies) dependents[edge.from].push_back(node.get());
    if (node->dependencies.empty()) order.push_back(node.get());
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (Node* next : dependents[order[i]]) {
      if (--missing[next] == 0) order.push_back(next);
    }
  }
  const auto in_circle = std::ranges::find_if(graph.nodes, [&](const auto& node) { return missing[node.get()] != 0; });
  if (stuck) *stuck = in_circle == graph.nodes.end() ? nullptr : in_circle->get();
  return order;
}

std::vector<Edge> dependents_of(const Node& node) {
  std::vector<Edge> found;
  for (const auto& other : node.graph->nodes) {
    for (const Edge& edge : other->dependencies) {
      if (edge.from == &node) found.push_back({other.get(), edge.data});
    }
  }
  return found;
}

}  // namespace lull::sim

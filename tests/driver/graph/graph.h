// Graphs: nodes with their parameters and the edges between them. Handles of graphs and nodes are published in the
// registries; an executable graph is a graph of its own that is not (exec.h).
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "tests/driver/graph/capture.h"
#include "tests/driver/graph/user_object.h"

namespace lull::sim {

struct Node;

struct Edge {
  Node* from;
  CUgraphEdgeData data;
};

struct Node {
  Graph* graph = nullptr;
  OperationPtr operation;
  std::weak_ptr<Context> context;  // it runs in; none: in that of the stream
  std::vector<Edge> dependencies;
  bool enabled = true;
  std::uint64_t id = 0;
  std::uint64_t origin = 0;  // id of the node this is a clone of
};

struct Graph : std::enable_shared_from_this<Graph> {
  enum class Owner { program, capture, node };
  std::uint64_t id = 0;
  std::uint64_t origin = 0;  // id of the graph this is a clone of
  Owner owner = Owner::program;
  bool captured_into = false;                // by cuStreamBeginCaptureToGraph, now
  unsigned executables = 0;                  // made of it and not destroyed; counted where it has memory nodes
  std::vector<std::shared_ptr<Node>> nodes;  // in the order they were added
  std::vector<UserReference> objects;

  Graph();
};

// A child node's graph. It runs as its own nodes in front of this one, which joins them.
class ChildOperation : public EmptyOperation {
 public:
  explicit ChildOperation(std::shared_ptr<Graph> graph) : graph_(std::move(graph)) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_GRAPH; }
  const std::shared_ptr<Graph>& graph() const { return graph_; }

 private:
  std::shared_ptr<Graph> graph_;
};
Graph* child_of(const Node& node);  // null: no child node

// Guards all graphs, their nodes and all captures. What follows needs it.
std::mutex& graph_mutex();

std::shared_ptr<Graph> find_graph(CUgraph handle);
std::shared_ptr<Node> find_node(CUgraphNode handle);
inline CUgraph handle_of(const Graph& graph) { return reinterpret_cast<CUgraph>(const_cast<Graph*>(&graph)); }
inline CUgraphNode handle_of(const Node& node) { return reinterpret_cast<CUgraphNode>(const_cast<Node*>(&node)); }

void publish(const std::shared_ptr<Graph>& graph);  // with its nodes, and its children's
void withdraw(Graph& graph);

struct EdgeList {
  std::span<const CUgraphNode> nodes;
  const CUgraphEdgeData* data = nullptr;  // null: default for all
};
// 1: a node is of another graph, twice there, or an edge's data makes no sense.
CUresult add_node(Graph& graph, OperationPtr operation, std::weak_ptr<Context> context, const EdgeList& behind,
                  Node*& out);
CUresult connect(Graph& graph, Node& from, Node& to, const CUgraphEdgeData& data);
CUresult disconnect(Node& from, Node& to, const CUgraphEdgeData& data);
void remove_node(Node& node);
std::shared_ptr<Graph> clone(const Graph& graph);      // not published
Node* find_clone(Graph& graph, std::uint64_t origin);  // of the node of that id, in the graph or its children

bool is_plain(const CUgraphEdgeData& data);
bool has_memory_nodes(const Graph& graph);  // in it or in a child
// Nodes so that each comes behind what it depends on; `stuck`, if given, receives one that is in a circle.
std::vector<Node*> in_order(const Graph& graph, Node** stuck = nullptr);
std::vector<Edge> dependents_of(const Node& node);  // Edge::from is then the dependent

}  // namespace lull::sim

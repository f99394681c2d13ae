// A graph as a picture: text for Graphviz.
#include <cstdio>
#include <memory>
#include <string>

#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/graph/parameters.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

constexpr unsigned known_flags = (CU_GRAPH_DEBUG_DOT_FLAGS_CONDITIONAL_NODE_PARAMS << 1) - 1;

const char* name_of(CUgraphNodeType type) {
  switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: return "KERNEL";
    case CU_GRAPH_NODE_TYPE_MEMCPY: return "MEMCPY";
    case CU_GRAPH_NODE_TYPE_MEMSET: return "MEMSET";
    case CU_GRAPH_NODE_TYPE_HOST: return "HOST";
    case CU_GRAPH_NODE_TYPE_GRAPH: return "GRAPH";
    case CU_GRAPH_NODE_TYPE_EMPTY: return "EMPTY";
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT: return "EVENT_WAIT";
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD: return "EVENT_RECORD";
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC: return "MEM_ALLOC";
    case CU_GRAPH_NODE_TYPE_MEM_FREE: return "MEM_FREE";
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: return "BATCH_MEM_OP";
    default: return "OTHER";
  }
}

std::string triple(const std::array<unsigned, 3>& size) {
  return std::to_string(size[0]) + "," + std::to_string(size[1]) + "," + std::to_string(size[2]);
}

bool asks(unsigned flags, CUgraphDebugDot_flags flag) { return flags & (flag | CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE); }

std::string label_of(const Node& node, unsigned flags) {
  std::string label = name_of(node.operation->type());
  const auto* kernel = operation_of<KernelOperation>(node);
  if (kernel) label += "\\n" + kernel->function().kernel->name;
  if (kernel && asks(flags, CU_GRAPH_DEBUG_DOT_FLAGS_KERNEL_NODE_PARAMS))
    label += "\\n<<<" + triple(kernel->shape().grid) + " x " + triple(kernel->shape().block) + ", " +
             std::to_string(kernel->shape().shared) + ">>>";
  const auto* copy = operation_of<CopyOperation>(node);
  if (copy && asks(flags, CU_GRAPH_DEBUG_DOT_FLAGS_MEMCPY_NODE_PARAMS))
    label += "\\n" + std::to_string(copy->box().bytes()) + " bytes";
  const auto* fill = operation_of<FillOperation>(node);
  if (fill && asks(flags, CU_GRAPH_DEBUG_DOT_FLAGS_MEMSET_NODE_PARAMS))
    label += "\\n" + std::to_string(fill->fill().width) + "x" + std::to_string(fill->fill().height);
  if (asks(flags, CU_GRAPH_DEBUG_DOT_FLAGS_HANDLES)) {
    char handle[32];
    (void)std::snprintf(handle, sizeof handle, "\\n%p", static_cast<const void*>(&node));
    label += handle;
  }
  return label;
}

std::string id_of(const Node& node) { return "node_" + std::to_string(node.id); }

void draw(const Graph& graph, unsigned flags, bool inner, std::string& out) {
  const std::string id = std::to_string(graph.id);
  out += (inner ? "subgraph cluster_" : "digraph graph_") + id + " {\nlabel=\"graph_" + id + "\"\n";
  for (const auto& node : graph.nodes) {
    out += id_of(*node) + " [label=\"" + label_of(*node, flags) + "\"]\n";
    if (const Graph* child = child_of(*node)) draw(*child, flags, true, out);
  }
  for (const auto& node : graph.nodes) {
    for (const Edge& edge : node->dependencies) out += id_of(*edge.from) + " -> " + id_of(*node) + "\n";
  }
  out += "}\n";
}

}  // namespace

CUresult cuGraphDebugDotPrint(CUgraph hGraph, const char* path, unsigned flags) {
  std::string text;
  {
    const std::scoped_lock lock(graph_mutex());
    const auto graph = find_graph(hGraph);
    if (!graph || !path || (flags & ~known_flags)) return CUDA_ERROR_INVALID_VALUE;
    draw(*graph, flags, false, text);
  }
  std::FILE* const file = std::fopen(path, "we");
  if (!file) return CUDA_ERROR_OPERATING_SYSTEM;
  const bool whole = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && whole ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

}  // namespace lull::sim::api

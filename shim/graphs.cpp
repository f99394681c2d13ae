#include "shim/graphs.h"

#include <cstdint>
#include <cstdlib>

#include "shim/gate.h"
#include "shim/lock.h"
#include "shim/make.h"
#include "shim/range_tree.h"
#include "shim/signals.h"

namespace lull::graphs {
namespace {

constexpr unsigned deepest = 32;  // of child graphs in child graphs
constexpr std::uint64_t heaviest = 1u << 30;

struct Known {
  CUgraphExec exec;
  unsigned units;
  Range range() const { return {reinterpret_cast<std::uint64_t>(exec), 1}; }
};
Mutex mutex;
RangeTree<Known> known;

std::uint64_t units_of(CUgraph graph, unsigned depth);

std::uint64_t units_of(CUgraphNode node, unsigned depth) {
  CUgraphNodeType type{};
  if (real::cuGraphNodeGetType(node, &type) != CUDA_SUCCESS) return 0;
  CUgraph child = nullptr;
  switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
    case CU_GRAPH_NODE_TYPE_MEMCPY:
    case CU_GRAPH_NODE_TYPE_MEMSET: return 1;
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return depth < deepest && real::cuGraphChildGraphNodeGetGraph(node, &child) == CUDA_SUCCESS
                 ? units_of(child, depth + 1)
                 : 0;
    default: return 0;
  }
}

std::uint64_t units_of(CUgraph graph, unsigned depth) {
  std::size_t count = 0;
  if (real::cuGraphGetNodes(graph, nullptr, &count) != CUDA_SUCCESS || count == 0) return 0;
  auto* nodes = static_cast<CUgraphNode*>(std::calloc(count, sizeof(CUgraphNode)));
  std::uint64_t units = 0;
  if (nodes && real::cuGraphGetNodes(graph, nodes, &count) == CUDA_SUCCESS)
    for (std::size_t i = 0; i < count; ++i) units += units_of(nodes[i], depth);
  std::free(nodes);
  return units;
}

// What was known of an earlier graph with this handle is over.
void forget(CUgraphExec exec) {
  const Locked locked(mutex);
  Known* graph = known.at(reinterpret_cast<std::uint64_t>(exec));
  if (!graph) return;
  known.remove(graph);
  lull::destroy(graph);
}

}  // namespace

void note(CUgraphExec exec, CUgraph graph) {
  if (!gate::active_now()) return;
  forget(exec);
  const std::uint64_t units = units_of(graph, 0);
  if (units < 2) return;
  Known* made = lull::make<Known>();
  if (!made) return;
  *made = {exec, static_cast<unsigned>(units < heaviest ? units : heaviest)};
  const Locked locked(mutex);
  if (!known.add(made)) lull::destroy(made);
}

unsigned weight(CUgraphExec exec) {
  if (!gate::active_now()) return 1;
  const SignalsBlocked blocked;  // as whoever holds a lock has
  if (!mutex.try_lock()) return 1;
  const Known* graph = known.at(reinterpret_cast<std::uint64_t>(exec));
  const unsigned units = graph ? graph->units : 1;
  mutex.unlock();
  return units;
}

CUresult destroy(CUgraphExec exec) {
  if (gate::active_now()) forget(exec);
  return real::cuGraphExecDestroy(exec);
}

}  // namespace lull::graphs

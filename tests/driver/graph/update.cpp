#include "tests/driver/graph/update.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/stream/memory_operation.h"

namespace lull::sim {
namespace {

using Result = CUgraphExecUpdateResult;

int priority_of(const KernelOperation& kernel) {
  const auto found = kernel.attributes().find(CU_LAUNCH_ATTRIBUTE_PRIORITY);
  return found == kernel.attributes().end() ? 0 : found->second.priority;
}

Result compare(const KernelOperation& was, const KernelOperation& next, unsigned long long flags) {
  if (was.function().module->context() != next.function().module->context())
    return CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE;
  const bool by_priority = flags & CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
  if (was.cooperative() != next.cooperative() || (by_priority && priority_of(was) != priority_of(next)))
    return CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED;
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

Result compare(const FillOperation& was, const FillOperation& next) {
  const Fill &a = was.fill(), &b = next.fill();
  const bool flat = a.height == 1;
  const bool same_shape = a.width == b.width && a.element_bytes == b.element_bytes && a.to.pitch == b.to.pitch;
  return a.height == b.height && (flat || same_shape) ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                                                      : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}

// Addresses, values and what to wait for may change; not what an operation is.
Result compare(const MemoryOperation& was, const MemoryOperation& next) {
  const bool same = std::ranges::equal(was.batch(), next.batch(), [](const auto& a, const auto& b) {
    return a.operation == b.operation &&
           (a.operation != CU_STREAM_MEM_OP_BARRIER || a.memoryBarrier.flags == b.memoryBarrier.flags);
  });
  return same ? CU_GRAPH_EXEC_UPDATE_SUCCESS : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
}

bool same_context(const std::weak_ptr<Context>& a, const std::weak_ptr<Context>& b) { return a.lock() == b.lock(); }

std::vector<Node*> exits(const Graph& graph) {
  std::unordered_set<const Node*> inner;
  for (const auto& node : graph.nodes) {
    for (const Edge& edge : node->dependencies) inner.insert(edge.from);
  }
  std::vector<Node*> found;
  for (const auto& node : graph.nodes) {
    if (!inner.contains(node.get())) found.push_back(node.get());
  }
  return found;
}

using Pairs = std::vector<std::pair<Node*, const Node*>>;  // of the executable graph, of the graph it takes over from

// Pairs the nodes of two graphs from their exits back, along their edges in order.
class Pairing {
 public:
  Pairing(const GraphExec& exec, const Graph& to, const Graph& from) : exec_(exec), to_(to), from_(from) {}

  bool pair_all() {
    if (to_.nodes.size() != from_.nodes.size()) return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, nullptr);
    const auto old_exits = exits(to_), new_exits = exits(from_);
    if (old_exits.size() != new_exits.size())
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED,
                  new_exits.size() > old_exits.size() ? new_exits.back() : nullptr);
    for (std::size_t i = 0; i < old_exits.size(); ++i) pair(*old_exits[i], *new_exits[i]);
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      if (!follow(*pairs_[i].first, *pairs_[i].second)) return false;
    }
    return true;
  }

  const Pairs& pairs() const { return pairs_; }
  const CUgraphExecUpdateResultInfo& info() const { return info_; }

 private:
  void pair(Node& old, const Node& next) {
    partner_[&next] = &old;
    pairs_.emplace_back(&old, &next);
  }

  bool follow(const Node& old, const Node& next) {
    if (old.dependencies.size() != next.dependencies.size())
      return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, &next);
    for (std::size_t i = 0; i < next.dependencies.size(); ++i) {
      Node* const before = old.dependencies[i].from;
      const Node* now = next.dependencies[i].from;
      const auto known = partner_.find(now);
      if (known == partner_.end())
        pair(*before, *now);
      else if (known->second != before)
        return fail(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, &next, now);
    }
    const Result allowed = may_become(exec_, old, {next.operation, next.context});
    return allowed == CU_GRAPH_EXEC_UPDATE_SUCCESS || fail(allowed, &next);
  }

  bool fail(Result result, const Node* node, const Node* from = nullptr) {
    info_ = {result, node ? handle_of(*node) : nullptr, from ? handle_of(*from) : nullptr};
    return false;
  }

  const GraphExec& exec_;
  const Graph &to_, &from_;
  std::unordered_map<const Node*, const Node*> partner_;  // new to old
  Pairs pairs_;
  CUgraphExecUpdateResultInfo info_{};
};

// Everything that would change, in the graph and in the graphs in it.
CUgraphExecUpdateResultInfo plan(const GraphExec& exec, const Graph& to, const Graph& from, Pairs& all) {
  Pairing pairing(exec, to, from);
  if (!pairing.pair_all()) return pairing.info();
  for (const auto& [old, next] : pairing.pairs()) {
    const Graph* child = child_of(*next);
    if (!child) {
      all.emplace_back(old, next);
      continue;
    }
    const auto inside = plan(exec, *child_of(*old), *child, all);
    if (inside.result != CU_GRAPH_EXEC_UPDATE_SUCCESS) return inside;
  }
  return pairing.info();
}

}  // namespace

CUgraphExecUpdateResult may_become(const GraphExec& exec, const Node& node, const Made& next) {
  if (node.operation->type() != next.operation->type()) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
  if (!same_context(node.context, next.context)) return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
  const Operation& operation = *next.operation;
  switch (operation.type()) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return compare(*operation_of<KernelOperation>(node), dynamic_cast<const KernelOperation&>(operation), exec.flags);
    case CU_GRAPH_NODE_TYPE_MEMCPY: {
      const auto* was = operation_of<CopyOperation>(node);
      const auto* now = dynamic_cast<const CopyOperation*>(&operation);
      return was && now && was->route() == now->route() ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                                                        : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    }
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return compare(*operation_of<FillOperation>(node), dynamic_cast<const FillOperation&>(operation));
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
      return compare(*operation_of<MemoryOperation>(node), dynamic_cast<const MemoryOperation&>(operation));
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
    case CU_GRAPH_NODE_TYPE_MEM_FREE: return CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED;
    default: return CU_GRAPH_EXEC_UPDATE_SUCCESS;
  }
}

CUgraphExecUpdateResultInfo update(const GraphExec& exec, Graph& to, const Graph& from) {
  Pairs pairs;
  const auto info = plan(exec, to, from, pairs);
  if (info.result != CU_GRAPH_EXEC_UPDATE_SUCCESS) return info;
  for (const auto& [old, next] : pairs) {
    old->operation = next->operation;
    old->context = next->context;
  }
  return info;
}

}  // namespace lull::sim

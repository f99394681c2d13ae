// What of an executable graph may change, node by node and as a whole.
#pragma once
#include "tests/driver/graph/exec.h"
#include "tests/driver/graph/parameters.h"

namespace lull::sim {

// Whether a node of an executable graph may become this. Needs graph_mutex().
CUgraphExecUpdateResult may_become(const GraphExec& exec, const Node& node, const Made& next);

// Takes over the parameters of a graph of the same shape, all of them or none. Needs graph_mutex().
CUgraphExecUpdateResultInfo update(const GraphExec& exec, Graph& to, const Graph& from);

}  // namespace lull::sim

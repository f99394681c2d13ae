// shim/graphs.h: what an executable graph weighs, for the bound of work in flight: its kernels, copies and fills, those
// of its child graphs included. Nobody can ask that of the executable graph, so it is counted where one is made.
#pragma once
#include "shim/flight.h"
#include "shim/gated.h"
#include "shim/real.h"
#include "shim/room.h"

namespace lull::graphs {

void note(CUgraphExec exec, CUgraph graph);
unsigned weight(CUgraphExec exec);  // at least 1; of one that nobody has noted: 1
CUresult destroy(CUgraphExec exec);

template <auto& next, class... Args>
CUresult make(CUgraphExec* exec, CUgraph graph, Args... args) {
  const CUresult result = room::asking([&] { return next(exec, graph, args...); });
  if (result == CUDA_SUCCESS && exec) note(*exec, graph);
  return result;
}
template <auto& next>
CUresult instantiate(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
  return make<next>(exec, graph, flags);
}
template <auto& next>
CUresult instantiate(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log, std::size_t log_bytes) {
  return make<next>(exec, graph, error_node, log, log_bytes);
}

}  // namespace lull::graphs

namespace lull {

// The rows that are gated and have to do with executable graphs.
template <auto& next, Stream flavour>
struct GatedGraph {
  static CUresult launch(CUgraphExec exec, CUstream stream) {
    using Any = Gated<next, flavour, CUresult(CUgraphExec, CUstream)>;
    const unsigned units = flight::bounded() ? graphs::weight(exec) : 1;
    return units > 1 ? Any::call_heavy(units, exec, stream) : Any::call(exec, stream);
  }
  static CUresult instantiate(CUgraphExec* exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* params) {
    using Any = Gated<next, flavour, CUresult(CUgraphExec*, CUgraph, CUDA_GRAPH_INSTANTIATE_PARAMS*)>;
    const CUresult result = Any::call(exec, graph, params);
    if (result == CUDA_SUCCESS && exec) graphs::note(*exec, graph);
    return result;
  }
};

}  // namespace lull

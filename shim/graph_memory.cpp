#include "shim/graph_memory.h"

#include <atomic>

#include "shim/handlers.h"
#include "shim/native.h"
#include "shim/protection.h"

namespace lull::graph_memory {
namespace {

std::atomic<bool> seen{false};

bool allocates(const CUgraphNodeParams* parameters) {
  return parameters && parameters->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC;
}

CUresult added(CUresult result) {
  if (result == CUDA_SUCCESS) may_be_used();
  return result;
}

}  // namespace

void may_be_used() {
  seen.store(true, std::memory_order_release);
  native::changed();
}

bool used() { return seen.load(std::memory_order_acquire); }

std::uint64_t reserved(unsigned slot) {
  if (!used() || !on(Protection::pool_count)) return 0;
  cuuint64_t bytes = 0;
  const auto device = static_cast<CUdevice>(slot);
  const CUresult asked = real::cuDeviceGetGraphMemAttribute(device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &bytes);
  return asked == CUDA_SUCCESS ? bytes : 0;
}

void trim(unsigned slot) {
  if (used()) (void)real::cuDeviceGraphMemTrim(static_cast<CUdevice>(slot));
}

CUresult add_alloc_node(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, std::size_t count,
                        CUDA_MEM_ALLOC_NODE_PARAMS* parameters) {
  return added(real::cuGraphAddMemAllocNode(node, graph, after, count, parameters));
}

CUresult add_node(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, std::size_t count,
                  CUgraphNodeParams* parameters) {
  const CUresult result = real::cuGraphAddNode(node, graph, after, count, parameters);
  return allocates(parameters) ? added(result) : result;
}

CUresult add_node(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, const CUgraphEdgeData* edges,
                  std::size_t count, CUgraphNodeParams* parameters) {
  const CUresult result = real::cuGraphAddNode_v2(node, graph, after, edges, count, parameters);
  return allocates(parameters) ? added(result) : result;
}

}  // namespace lull::graph_memory

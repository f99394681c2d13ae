#include "tests/driver/graph/memory_nodes.h"

#include <algorithm>
#include <map>
#include <set>

#include "tests/driver/context/context.h"
#include "tests/driver/memory/graph_memory.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

// Allocations that a launch has begun and no call has freed yet.
struct Outstanding {
  std::mutex mutex;
  std::set<CUdeviceptr> addresses;
};
Outstanding& outstanding() {
  static auto& one = *new Outstanding;
  return one;
}

// What the card could still give to graphs, idle memory of theirs included.
std::uint64_t available(Device& device) {
  cuuint64_t reserved = 0, used = 0;
  (void)api::cuDeviceGetGraphMemAttribute(device.ordinal, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &reserved);
  (void)api::cuDeviceGetGraphMemAttribute(device.ordinal, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &used);
  return device.card->memory().free + (reserved - std::min(used, reserved));
}

// The most that is allocated at once where every node runs in this order.
bool fits(const std::vector<OperationPtr>& in_order) {
  std::map<Device*, std::uint64_t> now;
  std::map<CUdeviceptr, std::pair<Device*, std::uint64_t>> sizes;
  for (const OperationPtr& operation : in_order) {
    if (const auto* alloc = dynamic_cast<const AllocOperation*>(operation.get())) {
      const std::uint64_t bytes = (alloc->parameters().bytesize + granule_bytes - 1) / granule_bytes * granule_bytes;
      if (graph_memory_is_allocated(alloc->parameters().dptr)) continue;  // freed by what is queued before
      sizes[alloc->parameters().dptr] = {&alloc->device(), bytes};
      if ((now[&alloc->device()] += bytes) > available(alloc->device())) return false;
    } else if (const auto* free = dynamic_cast<const FreeOperation*>(operation.get())) {
      const auto size = sizes.find(free->address());
      if (size != sizes.end()) now[size->second.first] -= size->second.second;
    }
  }
  return true;
}

bool frees(const Graph& graph, CUdeviceptr address) {
  return std::ranges::any_of(graph.nodes, [&](const auto& node) {
    const auto* free = dynamic_cast<const FreeOperation*>(node->operation.get());
    return free && free->address() == address;
  });
}

CUresult check(const CUDA_MEM_ALLOC_NODE_PARAMS& p, Device*& device) {
  if (p.poolProps.allocType != CU_MEM_ALLOCATION_TYPE_PINNED || p.bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if (p.poolProps.handleTypes != CU_MEM_HANDLE_TYPE_NONE) return CUDA_ERROR_NOT_SUPPORTED;
  if (p.poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
  device = device_of(p.poolProps.location.id);
  if (!device || (p.accessDescCount && !p.accessDescs) || p.accessDescCount > devices().size())
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

// Locked.
CUresult check_free(const Graph& graph, CUdeviceptr address) {
  return address && is_graph_memory(address) && !frees(graph, address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_MEM_ALLOC_NODE_PARAMS on_device(const Device& device, std::size_t bytes) {
  CUDA_MEM_ALLOC_NODE_PARAMS p{};
  p.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  p.poolProps.location.id = device.ordinal;
  p.bytesize = bytes;
  return p;
}

}  // namespace

std::shared_ptr<const AllocOperation> AllocOperation::make(Device& device, const CUDA_MEM_ALLOC_NODE_PARAMS& asked) {
  CUDA_MEM_ALLOC_NODE_PARAMS p = asked;
  p.accessDescs = nullptr;  // the program's array; one device reaches its own memory in any case
  p.accessDescCount = 0;
  p.dptr = reserve_graph_memory(device, p.bytesize);
  return p.dptr ? std::make_shared<const AllocOperation>(device, p) : nullptr;
}

AllocOperation::~AllocOperation() { forget_graph_memory(parameters_.dptr); }

CUresult AllocOperation::run(Running& running) const {
  running.end_ns = running.ready_ns;
  // What the launch itself was asked to free first is gone by now in the order of calls.
  if (graph_memory_is_allocated(parameters_.dptr)) (void)free_graph_memory(parameters_.dptr);
  return allocate_graph_memory(parameters_.dptr);
}

CUresult FreeOperation::run(Running& running) const {
  running.end_ns = running.ready_ns;
  return free_graph_memory(address_);
}

CUresult capture_allocation(Stream& stream, std::size_t bytes, CUdeviceptr* out) {
  const auto context = stream.context();
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  const auto operation = AllocOperation::make(context->device(), on_device(context->device(), bytes));
  if (!operation) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult failed = submit(stream, operation);
  if (failed == CUDA_SUCCESS) *out = operation->parameters().dptr;
  return failed;
}

CUresult capture_free(Stream& stream, CUdeviceptr address) {
  const auto capture = capture_of(stream);
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  {
    const std::scoped_lock lock(graph_mutex());
    if (const CUresult wrong = check_free(*capture->graph, address)) return wrong;
  }
  return submit(stream, std::make_shared<FreeOperation>(address));
}

bool end_graph_allocation(CUdeviceptr address) {
  const std::scoped_lock lock(outstanding().mutex);
  return outstanding().addresses.erase(address) != 0;
}

CUresult begin_launch(const std::vector<OperationPtr>& in_order, bool auto_free) {
  const std::scoped_lock lock(outstanding().mutex);
  auto after = outstanding().addresses;
  for (const OperationPtr& operation : in_order) {
    if (const auto* alloc = dynamic_cast<const AllocOperation*>(operation.get())) {
      if (auto_free) after.erase(alloc->parameters().dptr);
      if (!after.insert(alloc->parameters().dptr).second) return CUDA_ERROR_INVALID_VALUE;
    } else if (const auto* free = dynamic_cast<const FreeOperation*>(operation.get())) {
      if (after.erase(free->address()) == 0) return CUDA_ERROR_INVALID_VALUE;
    }
  }
  if (!fits(in_order)) return CUDA_ERROR_OUT_OF_MEMORY;
  outstanding().addresses = std::move(after);
  return CUDA_SUCCESS;
}

namespace api {

CUresult cuGraphAddMemAllocNode(CUgraphNode* out, CUgraph hGraph, const CUgraphNode* behind, size_t count,
                                CUDA_MEM_ALLOC_NODE_PARAMS* p) {
  Device* device = nullptr;
  if (!out || !p || (count && !behind)) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check(*p, device)) return wrong;
  const auto operation = AllocOperation::make(*device, *p);
  if (!operation) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  Node* node = nullptr;
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = add_node(*graph, operation, {}, {{behind, count}}, node)) return failed;
  p->dptr = operation->parameters().dptr;
  *out = handle_of(*node);
  return CUDA_SUCCESS;
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode hNode, CUDA_MEM_ALLOC_NODE_PARAMS* out) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  const auto* alloc = node ? dynamic_cast<const AllocOperation*>(node->operation.get()) : nullptr;
  if (!alloc || !out) return CUDA_ERROR_INVALID_VALUE;
  *out = alloc->parameters();
  return CUDA_SUCCESS;
}

CUresult cuGraphAddMemFreeNode(CUgraphNode* out, CUgraph hGraph, const CUgraphNode* behind, size_t count,
                               CUdeviceptr dptr) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  if (!out || !graph || (count && !behind)) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check_free(*graph, dptr)) return wrong;
  Node* node = nullptr;
  const CUresult failed = add_node(*graph, std::make_shared<FreeOperation>(dptr), {}, {{behind, count}}, node);
  if (failed == CUDA_SUCCESS) *out = handle_of(*node);
  return failed;
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode hNode, CUdeviceptr* out) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  const auto* free = node ? dynamic_cast<const FreeOperation*>(node->operation.get()) : nullptr;
  if (!free || !out) return CUDA_ERROR_INVALID_VALUE;
  *out = free->address();
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim

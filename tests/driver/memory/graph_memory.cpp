#include "tests/driver/memory/graph_memory.h"

#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct MemoryNode {
  Device* device;
  std::size_t asked, bytes;
  bool allocated = false, forgotten = false;
};

struct Account {
  Watermark used, reserved;
};

// All guarded by Space::mutex.
std::map<std::uintptr_t, MemoryNode>& nodes() {
  static auto& all = *new std::map<std::uintptr_t, MemoryNode>;
  return all;
}
Account& account(const Device& device) {
  static auto& all = *new std::map<const Device*, Account>;
  return all[&device];
}

bool has_memory(std::uintptr_t address) { return space().mapped.contains(address); }

void unmap(std::uintptr_t address, const MemoryNode& node) {
  space().unmap(address);
  account(*node.device).reserved.subtract(node.bytes);
}

// Memory of the same size that another node has done with.
std::shared_ptr<Physical> reuse(const MemoryNode& wanted) {
  for (auto& [address, node] : nodes()) {
    if (node.allocated || node.device != wanted.device || node.bytes != wanted.bytes || !has_memory(address)) continue;
    auto physical = space().mapped.at(address).physical;
    unmap(address, node);
    return physical;
  }
  return Physical::take(*wanted.device, wanted.bytes);
}

bool put_memory_behind(std::uintptr_t address, const MemoryNode& node) {
  if (has_memory(address)) return true;
  auto physical = reuse(node);
  if (!physical || !space().map(address, node.bytes, std::move(physical))) return false;
  account(*node.device).reserved.add(node.bytes);
  return space().set_access(address, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

void drop(std::map<std::uintptr_t, MemoryNode>::iterator entry) {
  if (has_memory(entry->first)) unmap(entry->first, entry->second);
  space().unreserve(entry->first);
  nodes().erase(entry);
}

}  // namespace

std::uintptr_t reserve_graph_memory(Device& device, std::size_t bytes) {
  if (bytes == 0 || bytes > SIZE_MAX / 2) return 0;
  const std::size_t whole = (bytes + granule_bytes - 1) / granule_bytes * granule_bytes;
  const std::scoped_lock lock(space().mutex);
  const std::uintptr_t address = space().reserve(whole, granule_bytes, 0, Holds::pool);
  if (address) nodes()[address] = {&device, bytes, whole};
  return address;
}

CUresult allocate_graph_memory(std::uintptr_t address) {
  const std::scoped_lock lock(space().mutex);
  const auto found = nodes().find(address);
  if (found == nodes().end() || found->second.allocated) return CUDA_ERROR_INVALID_VALUE;
  MemoryNode& node = found->second;
  if (!put_memory_behind(address, node)) return CUDA_ERROR_OUT_OF_MEMORY;
  node.allocated = true;
  account(*node.device).used.add(node.bytes);
  space().allocations[address] = {.bytes = node.asked,
                                  .kind = AllocationKind::graph,
                                  .context = nullptr,
                                  .device = node.device,
                                  .slab = 0,
                                  .id = next_allocation_id(),
                                  .pool = nullptr};
  return CUDA_SUCCESS;
}

CUresult free_graph_memory(std::uintptr_t address) {
  const std::scoped_lock lock(space().mutex);
  const auto found = nodes().find(address);
  if (found == nodes().end() || !found->second.allocated) return CUDA_ERROR_INVALID_VALUE;
  found->second.allocated = false;
  account(*found->second.device).used.subtract(found->second.bytes);
  space().allocations.erase(address);
  if (found->second.forgotten) drop(found);
  return CUDA_SUCCESS;
}

bool is_graph_memory(std::uintptr_t address) {
  const std::scoped_lock lock(space().mutex);
  return nodes().contains(address);
}

bool graph_memory_is_allocated(std::uintptr_t address) {
  const std::scoped_lock lock(space().mutex);
  const auto found = nodes().find(address);
  return found != nodes().end() && found->second.allocated;
}

void forget_graph_memory(std::uintptr_t address) {
  const std::scoped_lock lock(space().mutex);
  const auto found = nodes().find(address);
  if (found == nodes().end()) return;
  found->second.forgotten = true;
  if (!found->second.allocated) drop(found);
}

void trim_graph_memory(Device& device) {
  for (const auto& [address, node] : nodes()) {
    if (!node.allocated && node.device == &device && has_memory(address)) unmap(address, node);
  }
}

namespace api {

CUresult cuDeviceGraphMemTrim(CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  const std::scoped_lock lock(space().mutex);
  trim_graph_memory(*device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice dev, CUgraphMem_attribute attr, void* value) {
  const Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  const Account& of = account(*device);
  auto& answer = *static_cast<cuuint64_t*>(value);
  switch (attr) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT: answer = of.used.now; return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH: answer = of.used.high; return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT: answer = of.reserved.now; return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH: answer = of.reserved.high; return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice dev, CUgraphMem_attribute attr, void* value) {
  const Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!value || *static_cast<const cuuint64_t*>(value) != 0) return CUDA_ERROR_INVALID_VALUE;  // only ever reset
  const std::scoped_lock lock(space().mutex);
  Account& of = account(*device);
  if (attr == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH)
    of.used.reset();
  else if (attr == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH)
    of.reserved.reset();
  else
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim

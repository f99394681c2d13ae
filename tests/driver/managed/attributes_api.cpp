// cuMemRangeGetAttribute(s): what all blocks of a range of managed memory have in common.
#include <cstring>

#include "tests/driver/managed/blocks.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// The place that all blocks agree on, or none.
Place common(std::span<const Block> blocks, Place Block::*of) {
  const Place first = blocks.front().*of;
  return std::ranges::all_of(blocks, [&](const Block& b) { return b.*of == first; }) ? first : nowhere;
}

CUmemLocationType type_of(Place place) {
  if (place >= 0) return CU_MEM_LOCATION_TYPE_DEVICE;
  if (place == on_node_0) return CU_MEM_LOCATION_TYPE_HOST_NUMA;
  return place == on_host ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_INVALID;
}
// A device or the host; a node of the host is neither in the terms of the older attributes.
int device_or_host(Place place) { return place == on_node_0 ? nowhere : place; }
int id_of(Place place) { return place >= 0 ? place : 0; }

CUresult answer(void* data, std::size_t bytes, int value) {
  if (bytes != sizeof value) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(data, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult list_accessors(void* data, std::size_t bytes, std::span<const Block> blocks) {
  if (bytes == 0 || bytes % sizeof(int) != 0) return CUDA_ERROR_INVALID_VALUE;
  std::uint32_t all = ~0u;
  for (const Block& block : blocks) all &= block.accessed_by;
  const std::size_t room = bytes / sizeof(int);
  std::size_t used = 0;
  const auto put = [&](int id) {
    if (used < room) std::memcpy(static_cast<std::byte*>(data) + used++ * sizeof id, &id, sizeof id);
  };
  for (int bit = 0; bit <= static_cast<int>(devices().size()); ++bit) {
    if (all & (1u << bit)) put(bit == 0 ? on_host : bit - 1);
  }
  while (used < room) put(nowhere);
  return CUDA_SUCCESS;
}

CUresult attribute_of(void* data, std::size_t bytes, CUmem_range_attribute attribute, std::span<const Block> blocks) {
  if (!data) return CUDA_ERROR_INVALID_VALUE;
  const Place preferred = common(blocks, &Block::preferred), last = common(blocks, &Block::last_prefetch);
  switch (attribute) {
    case CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY:
      return answer(data, bytes, std::ranges::all_of(blocks, &Block::read_mostly));
    case CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY: return list_accessors(data, bytes, blocks);
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION: return answer(data, bytes, device_or_host(preferred));
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE: return answer(data, bytes, type_of(preferred));
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID: return answer(data, bytes, id_of(preferred));
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION: return answer(data, bytes, device_or_host(last));
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE: return answer(data, bytes, type_of(last));
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID: return answer(data, bytes, id_of(last));
  }
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuMemRangeGetAttribute(void* data, size_t dataSize, CUmem_range_attribute attribute, CUdeviceptr devPtr,
                                size_t count) {
  const std::scoped_lock lock(managed().mutex);
  const auto blocks = managed().blocks_of(devPtr, count);
  return blocks.empty() ? CUDA_ERROR_INVALID_VALUE : attribute_of(data, dataSize, attribute, blocks);
}

CUresult cuMemRangeGetAttributes(void** data, size_t* dataSizes, CUmem_range_attribute* attributes,
                                 size_t numAttributes, CUdeviceptr devPtr, size_t count) {
  if (!data || !dataSizes || !attributes || numAttributes == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(managed().mutex);
  const auto blocks = managed().blocks_of(devPtr, count);
  if (blocks.empty()) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < numAttributes; ++i) {
    if (const CUresult failed = attribute_of(data[i], dataSizes[i], attributes[i], blocks)) return failed;
  }
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api

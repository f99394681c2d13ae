#include "shim/vmm.h"

#include "shim/log.h"
#include "shim/mappings.h"

namespace lull::vmm {
namespace {

// As cuMemAlloc memory would be, so that libraries take the paths they would take.
CUmemAllocationProp usual_properties(unsigned slot) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, static_cast<int>(slot)};
  int rdma = 0;
  if (real::cuDeviceGetAttribute(&rdma, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
                                 properties.location.id) == CUDA_SUCCESS &&
      rdma)
    properties.allocFlags.gpuDirectRDMACapable = 1;
  return properties;
}

// At the region's own address, where the mover copies.
CUresult map_at_home(const ledger::Chunk& chunk) {
  const CUmemAccessDesc access{{CU_MEM_LOCATION_TYPE_DEVICE, static_cast<int>(chunk.region->slot)},
                               CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUresult result = real::cuMemMap(chunk.base, chunk.bytes, 0, chunk.handle, 0);
  if (result != CUDA_SUCCESS) return result;
  result = real::cuMemSetAccess(chunk.base, chunk.bytes, &access, 1);
  if (result != CUDA_SUCCESS) (void)real::cuMemUnmap(chunk.base, chunk.bytes);  // it was never accessible
  return result;
}

void say(const char* call, CUresult result) {
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_DEINITIALIZED) log::line("%s: error %d", call, result);
}

// At the first `count` of the program's mappings.
void unmap_from_program(const ledger::Chunk& chunk, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (const auto piece = piece_of(*chunk.region->mappings[i], chunk))
      say("cuMemUnmap", real::cuMemUnmap(piece->at, piece->bytes));
}

CUresult map_for_program(const ledger::Chunk& chunk) {
  for (std::size_t i = 0; i < chunk.region->mappings.size(); ++i) {
    const CUresult mapped = map_piece(*chunk.region->mappings[i], chunk);
    if (mapped == CUDA_SUCCESS) continue;
    unmap_from_program(chunk, i);
    return mapped;
  }
  return CUDA_SUCCESS;
}

void release(ledger::Chunk& chunk) {
  say("cuMemRelease", real::cuMemRelease(chunk.handle));
  chunk.handle = 0;
}

}  // namespace

CUresult map(ledger::Chunk& chunk) {
  const ledger::Region& region = *chunk.region;
  const CUmemAllocationProp properties = region.properties ? *region.properties : usual_properties(region.slot);
  CUresult result = real::cuMemCreate(&chunk.handle, chunk.bytes, &properties, 0);
  if (result != CUDA_SUCCESS) return result;
  result = map_at_home(chunk);
  if (result == CUDA_SUCCESS) {
    result = map_for_program(chunk);
    if (result == CUDA_SUCCESS) return result;
    say("cuMemUnmap", real::cuMemUnmap(chunk.base, chunk.bytes));
  }
  release(chunk);
  return result;
}

void unmap(ledger::Chunk& chunk) {
  unmap_from_program(chunk, chunk.region->mappings.size());
  say("cuMemUnmap", real::cuMemUnmap(chunk.base, chunk.bytes));
  release(chunk);
}

CUresult map_piece(const Mapping& mapping, const ledger::Chunk& chunk) {
  const auto piece = piece_of(mapping, chunk);
  if (!piece) return CUDA_SUCCESS;
  CUresult result = real::cuMemMap(piece->at, piece->bytes, 0, chunk.handle, 0);
  if (result != CUDA_SUCCESS || mapping.access.empty()) return result;
  result = real::cuMemSetAccess(piece->at, piece->bytes, mapping.access.begin(), mapping.access.size());
  if (result != CUDA_SUCCESS) (void)real::cuMemUnmap(piece->at, piece->bytes);
  return result;
}

std::optional<Range> piece_of(const Mapping& mapping, const ledger::Chunk& chunk) {
  const std::uint64_t offset = chunk.base - chunk.region->base;
  if (offset >= mapping.bytes) return std::nullopt;
  const std::uint64_t rest = mapping.bytes - offset;
  return Range{mapping.at + offset, rest < chunk.bytes ? rest : chunk.bytes};
}

}  // namespace lull::vmm

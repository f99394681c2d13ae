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
  properties.allocFlags.gpuDirectRDMACapable = rdma_capable(slot);
  return properties;
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

// At the region's own address, where the mover copies; not accessible yet.
CUresult make_at_home(ledger::Chunk& chunk) {
  const ledger::Region& region = *chunk.region;
  const CUmemAllocationProp properties = region.properties ? *region.properties : usual_properties(region.slot);
  CUresult result = real::cuMemCreate(&chunk.handle, chunk.bytes, &properties, 0);
  if (result != CUDA_SUCCESS) return result;
  result = real::cuMemMap(chunk.base, chunk.bytes, 0, chunk.handle, 0);
  if (result != CUDA_SUCCESS) release(chunk);
  return result;
}

void unmake_at_home(ledger::Chunk& chunk) {
  say("cuMemUnmap", real::cuMemUnmap(chunk.base, chunk.bytes));
  release(chunk);
}

}  // namespace

bool rdma_capable(unsigned slot) {
  int capable = 0;
  return real::cuDeviceGetAttribute(&capable, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
                                    static_cast<CUdevice>(slot)) == CUDA_SUCCESS &&
         capable;
}

CUresult map(ledger::Chunk* const* run, unsigned count) {
  const ledger::Region& region = *run[0]->region;
  if (region.managed) return CUDA_SUCCESS;
  unsigned there = 0;
  CUresult result = CUDA_SUCCESS;
  for (; there < count && result == CUDA_SUCCESS; ++there) result = make_at_home(*run[there]);
  if (result == CUDA_SUCCESS) {
    const CUmemAccessDesc access{{CU_MEM_LOCATION_TYPE_DEVICE, static_cast<int>(region.slot)},
                                 CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    result =
        real::cuMemSetAccess(run[0]->base, run[count - 1]->base + run[count - 1]->bytes - run[0]->base, &access, 1);
  } else {
    --there;  // the last one left nothing behind
  }
  unsigned for_program = 0;
  for (; for_program < count && result == CUDA_SUCCESS; ++for_program) result = map_for_program(*run[for_program]);
  if (result == CUDA_SUCCESS) return result;
  for (unsigned i = 0; i + 1 < for_program; ++i) unmap_from_program(*run[i], region.mappings.size());
  for (unsigned i = 0; i < there; ++i) unmake_at_home(*run[i]);
  return result;
}

void unmap(ledger::Chunk& chunk) {
  if (chunk.region->managed) return;
  unmap_from_program(chunk, chunk.region->mappings.size());
  unmake_at_home(chunk);
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

#include "shim/vmm.h"

#include <atomic>

#include "protocol/page.h"
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

// Whether the call succeeded; else it is said.
bool said(CUresult result, const char* call) {
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_DEINITIALIZED) log::line("%s: error %d", call, result);
  return result == CUDA_SUCCESS;
}

// At the first `count` of the program's mappings. False: the driver has refused one.
bool unmap_from_program(const ledger::Chunk& chunk, std::size_t count) {
  bool gone = true;
  for (std::size_t i = 0; i < count; ++i)
    if (const auto piece = piece_of(*chunk.region->mappings[i], chunk))
      gone &= said(real::cuMemUnmap(piece->at, piece->bytes), "cuMemUnmap");
  return gone;
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

// What the driver does not take back at the second try keeps its handle, and serves the chunk again.
void release(ledger::Chunk& chunk) {
  if (real::cuMemRelease(chunk.handle) == CUDA_SUCCESS || said(real::cuMemRelease(chunk.handle), "cuMemRelease"))
    chunk.handle = 0;
}

// A chunk that is absent and has a handle is one that the driver has not taken back: what is left of it goes first.
void clear_leftovers(const ledger::Chunk& chunk) {
  for (const Mapping* mapping : chunk.region->mappings)
    if (const auto piece = piece_of(*mapping, chunk)) (void)real::cuMemUnmap(piece->at, piece->bytes);
  (void)real::cuMemUnmap(chunk.base, chunk.bytes);
}

// At the region's own address, where the mover copies; not accessible yet.
CUresult make_at_home(ledger::Chunk& chunk) {
  const ledger::Region& region = *chunk.region;
  const CUmemAllocationProp properties = region.properties ? *region.properties : usual_properties(region.slot);
  if (chunk.handle) {
    clear_leftovers(chunk);
    return real::cuMemMap(chunk.base, chunk.bytes, 0, chunk.handle, 0);
  }
  CUresult result = real::cuMemCreate(&chunk.handle, chunk.bytes, &properties, 0);
  if (result != CUDA_SUCCESS) return result;
  result = real::cuMemMap(chunk.base, chunk.bytes, 0, chunk.handle, 0);
  if (result != CUDA_SUCCESS) release(chunk);
  return result;
}

void unmake_at_home(ledger::Chunk& chunk) {
  if (said(real::cuMemUnmap(chunk.base, chunk.bytes), "cuMemUnmap")) release(chunk);
}

}  // namespace

// It does not change, so the driver is asked once for each GPU.
bool rdma_capable(unsigned slot) {
  enum : signed char { unknown, no, yes };
  static std::atomic<signed char> known[max_gpus];
  if (const auto before = known[slot].load(std::memory_order_relaxed)) return before == yes;
  int capable = 0;
  if (real::cuDeviceGetAttribute(&capable, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
                                 static_cast<CUdevice>(slot)) != CUDA_SUCCESS)
    return false;
  known[slot].store(capable ? yes : no, std::memory_order_relaxed);
  return capable != 0;
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

bool unmap(ledger::Chunk& chunk) {
  if (chunk.region->managed) return true;
  const auto& mappings = chunk.region->mappings;
  std::size_t gone = 0;
  bool unmapped = true;
  for (; gone < mappings.size() && unmapped; gone += unmapped)
    if (const auto piece = piece_of(*mappings[gone], chunk))
      unmapped = said(real::cuMemUnmap(piece->at, piece->bytes), "cuMemUnmap");
  if (unmapped && said(real::cuMemUnmap(chunk.base, chunk.bytes), "cuMemUnmap")) return release(chunk), true;
  while (gone-- > 0)
    if (map_piece(*mappings[gone], chunk) != CUDA_SUCCESS) return discard(chunk), true;
  return false;
}

void discard(ledger::Chunk& chunk) {
  if (chunk.region->managed || !chunk.handle) return;
  const bool gone = unmap_from_program(chunk, chunk.region->mappings.size());
  if (said(real::cuMemUnmap(chunk.base, chunk.bytes), "cuMemUnmap") && gone) release(chunk);
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

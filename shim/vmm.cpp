#include "shim/vmm.h"

#include "shim/log.h"

namespace lull::vmm {

CUresult map(ledger::Chunk& chunk) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, static_cast<int>(chunk.region->slot)};
  int rdma = 0;  // as cuMemAlloc memory would be, so that libraries take the paths they would take
  if (real::cuDeviceGetAttribute(&rdma, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
                                 properties.location.id) == CUDA_SUCCESS &&
      rdma)
    properties.allocFlags.gpuDirectRDMACapable = 1;
  CUmemAccessDesc access{properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUresult result = real::cuMemCreate(&chunk.handle, chunk.bytes, &properties, 0);
  if (result != CUDA_SUCCESS) return result;
  result = real::cuMemMap(chunk.base, chunk.bytes, 0, chunk.handle, 0);
  if (result == CUDA_SUCCESS) {
    result = real::cuMemSetAccess(chunk.base, chunk.bytes, &access, 1);
    if (result == CUDA_SUCCESS) return result;
    (void)real::cuMemUnmap(chunk.base, chunk.bytes);  // it was never accessible; the release below gives it back
  }
  (void)real::cuMemRelease(chunk.handle);
  chunk.handle = 0;
  return result;
}

void unmap(ledger::Chunk& chunk) {
  const CUresult unmapped = real::cuMemUnmap(chunk.base, chunk.bytes);
  const CUresult released = real::cuMemRelease(chunk.handle);
  chunk.handle = 0;
  if (unmapped != CUDA_SUCCESS && unmapped != CUDA_ERROR_DEINITIALIZED) log::line("cuMemUnmap: error %d", unmapped);
  if (released != CUDA_SUCCESS && released != CUDA_ERROR_DEINITIALIZED) log::line("cuMemRelease: error %d", released);
}

}  // namespace lull::vmm

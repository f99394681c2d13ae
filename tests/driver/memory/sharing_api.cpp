// Shareable handles of cuMemCreate memory. Descriptors are the one kind there is: fabric handles need an IMEX channel
// and dma-buf a kernel driver, and this card has neither.
#include "tests/driver/memory/sharing.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {

CUresult cuMemExportToShareableHandle(void* shareableHandle, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType handleType, unsigned long long flags) {
  if (!shareableHandle || flags != 0 || handleType == CU_MEM_HANDLE_TYPE_NONE) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.handles.find(handle);
  if (found == all.handles.end()) return CUDA_ERROR_INVALID_VALUE;
  Physical& physical = *found->second;
  if (const CUresult failed = check_handle_types(handleType)) return failed;
  if ((physical.properties.requestedHandleTypes & handleType) == 0) return CUDA_ERROR_INVALID_VALUE;  // not asked for
  if (!share(physical, SharedAs::allocation)) return CUDA_ERROR_NOT_SUPPORTED;
  const int fd = descriptor_of(physical.device, *physical.share);
  if (fd < 0) return CUDA_ERROR_NOT_SUPPORTED;
  *static_cast<int*>(shareableHandle) = fd;
  return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* osHandle,
                                        CUmemAllocationHandleType shHandleType) {
  if (!handle || shHandleType == CU_MEM_HANDLE_TYPE_NONE) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = check_handle_types(shHandleType)) return failed;
  const auto found = share_of_descriptor(static_cast<int>(reinterpret_cast<std::intptr_t>(osHandle)));
  if (!found) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto physical = shared_physical(*found, SharedAs::allocation);
  if (!physical) return CUDA_ERROR_INVALID_VALUE;
  *handle = all.handle_of(physical);
  return CUDA_SUCCESS;
}

CUresult cuMemGetHandleForAddressRange(void* handle, CUdeviceptr dptr, size_t size, CUmemRangeHandleType handleType,
                                       unsigned long long flags) {
  if (!handle || !dptr || size == 0 || dptr % host_page_bytes || size % host_page_bytes)
    return CUDA_ERROR_INVALID_VALUE;
  if (handleType != CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD) return CUDA_ERROR_INVALID_VALUE;
  if (flags != 0 && flags != CU_MEM_RANGE_FLAG_DMA_BUF_MAPPING_TYPE_PCIE) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_ERROR_NOT_SUPPORTED;  // as CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED tells
}

}  // namespace lull::sim::api

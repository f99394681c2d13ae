// Multicast joins the memory of several devices through a switch, and no simulated machine has one
// (CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED is 0): no object is ever made, so no handle is one of a multicast object.
#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult check(const CUmulticastObjectProp* prop) {
  if (!prop || prop->numDevices == 0 || prop->size == 0 || prop->flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return check_handle_types(prop->handleTypes);
}

}  // namespace

CUresult cuMulticastCreate(CUmemGenericAllocationHandle* mcHandle, const CUmulticastObjectProp* prop) {
  if (!mcHandle) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check(prop)) return wrong;
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMulticastGetGranularity(size_t* granularity, const CUmulticastObjectProp* prop,
                                   CUmulticastGranularity_flags option) {
  const bool known = option == CU_MULTICAST_GRANULARITY_MINIMUM || option == CU_MULTICAST_GRANULARITY_RECOMMENDED;
  if (!granularity || !prop || !known) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle, CUdevice dev) {
  return device_of(dev) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMulticastBindMem(CUmemGenericAllocationHandle, size_t, CUmemGenericAllocationHandle, size_t, size_t,
                            unsigned long long) {
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle, size_t, CUdeviceptr, size_t, unsigned long long) {
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMulticastUnbind(CUmemGenericAllocationHandle, CUdevice dev, size_t, size_t) {
  return device_of(dev) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace lull::sim::api

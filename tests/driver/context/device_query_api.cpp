// What a device tells of itself besides its attributes.
#include <algorithm>

#include "tests/driver/context/attributes.h"
#include "tests/driver/context/context.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// Kernels use the host's own atomic instructions, on device and host memory alike.
unsigned host_atomics(CUatomicOperation operation) {
  constexpr unsigned integers = CU_ATOMIC_CAPABILITY_SIGNED | CU_ATOMIC_CAPABILITY_UNSIGNED;
  constexpr unsigned any_width =
      CU_ATOMIC_CAPABILITY_REDUCTION | CU_ATOMIC_CAPABILITY_SCALAR_32 | CU_ATOMIC_CAPABILITY_SCALAR_64;
  switch (operation) {
    case CU_ATOMIC_OPERATION_INTEGER_ADD:
    case CU_ATOMIC_OPERATION_INTEGER_MIN:
    case CU_ATOMIC_OPERATION_INTEGER_MAX: return integers | any_width;
    case CU_ATOMIC_OPERATION_INTEGER_INCREMENT:
    case CU_ATOMIC_OPERATION_INTEGER_DECREMENT:
      return CU_ATOMIC_CAPABILITY_UNSIGNED | CU_ATOMIC_CAPABILITY_REDUCTION | CU_ATOMIC_CAPABILITY_SCALAR_32;
    case CU_ATOMIC_OPERATION_AND:
    case CU_ATOMIC_OPERATION_OR:
    case CU_ATOMIC_OPERATION_XOR:
    case CU_ATOMIC_OPERATION_EXCHANGE:
    case CU_ATOMIC_OPERATION_CAS: return CU_ATOMIC_CAPABILITY_UNSIGNED | any_width;
    case CU_ATOMIC_OPERATION_FLOAT_ADD: return any_width;
    default: return 0;
  }
}

bool all_known(const CUatomicOperation* operations, unsigned count) {
  return std::all_of(operations, operations + count, [](CUatomicOperation o) { return o < CU_ATOMIC_OPERATION_MAX; });
}

CUresult resource_of(CUdevice device, CUdevResource* resource, CUdevResourceType type) {
  if (!resource) return CUDA_ERROR_INVALID_VALUE;
  if (type != CU_DEV_RESOURCE_TYPE_SM) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
  *resource = {};
  resource->type = type;
  const auto processors = static_cast<unsigned>(attribute_of(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  resource->sm.smCount = processors;
  resource->sm.minSmPartitionSize = resource->sm.smCoscheduledAlignment = processors;  // it cannot be split here
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuDeviceGetProperties(CUdevprop* prop, CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!prop) return CUDA_ERROR_INVALID_VALUE;
  const auto get = [dev](CUdevice_attribute attribute) { return attribute_of(dev, attribute); };
  *prop = {.maxThreadsPerBlock = get(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
           .maxThreadsDim = {get(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X), get(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y),
                             get(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)},
           .maxGridSize = {get(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X), get(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y),
                           get(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)},
           .sharedMemPerBlock = get(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK),
           .totalConstantMemory = get(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY),
           .SIMDWidth = get(CU_DEVICE_ATTRIBUTE_WARP_SIZE),
           .memPitch = get(CU_DEVICE_ATTRIBUTE_MAX_PITCH),
           .regsPerBlock = get(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK),
           .clockRate = get(CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
           .textureAlign = get(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT)};
  return CUDA_SUCCESS;
}

// No card reaches another's memory.
CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attrib, CUdevice src, CUdevice dst) {
  if (!value || attrib < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
      attrib > CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED)
    return CUDA_ERROR_INVALID_VALUE;
  if (!device_of(src) || !device_of(dst) || src == dst) return CUDA_ERROR_INVALID_DEVICE;
  *value = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAtomicCapabilities(unsigned* capabilities, const CUatomicOperation* operations, unsigned count,
                                          CUdevice src, CUdevice dst) {
  if (!device_of(src) || !device_of(dst) || src == dst) return CUDA_ERROR_INVALID_DEVICE;
  if (!capabilities || !operations || count == 0 || !all_known(operations, count)) return CUDA_ERROR_INVALID_VALUE;
  std::fill_n(capabilities, count, 0u);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetHostAtomicCapabilities(unsigned* capabilities, const CUatomicOperation* operations, unsigned count,
                                           CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!capabilities || !operations || count == 0 || !all_known(operations, count)) return CUDA_ERROR_INVALID_VALUE;
  std::transform(operations, operations + count, capabilities, host_atomics);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetExecAffinitySupport(int* pi, CUexecAffinityType type, CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!pi || type < 0 || type >= CU_EXEC_AFFINITY_TYPE_MAX) return CUDA_ERROR_INVALID_VALUE;
  *pi = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource* resource, CUdevResourceType type) {
  return device_of(device) ? resource_of(device, resource, type) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuCtxGetDevResource(CUcontext hCtx, CUdevResource* resource, CUdevResourceType type) {
  CUdevice device = 0;
  if (const CUresult failed = api::cuCtxGetDevice_v2(&device, hCtx)) return failed;
  return resource_of(device, resource, type);
}

CUresult cuCtxGetExecAffinity(CUexecAffinityParam* affinity, CUexecAffinityType type) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!affinity) return CUDA_ERROR_INVALID_VALUE;
  if (type != CU_EXEC_AFFINITY_TYPE_SM_COUNT) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  affinity->type = type;
  affinity->param.smCount.val = static_cast<unsigned>(
      attribute_of(context->device().ordinal, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));  // a context has them all
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api

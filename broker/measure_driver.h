// broker/measure_driver.h: the few functions of the CUDA driver that measuring needs, opened at run time, in the helper
// process only.
#pragma once
#include <cuda.h>

#include <string>

namespace lull {

struct MeasureDriver {
#define LULL_MEASURE_CALLS(X)                                       \
  X(cuInit, "cuInit")                                               \
  X(cuDeviceGetCount, "cuDeviceGetCount")                           \
  X(cuDeviceGet, "cuDeviceGet")                                     \
  X(cuDeviceGetUuid_v2, "cuDeviceGetUuid_v2")                       \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain")           \
  X(cuCtxSetCurrent, "cuCtxSetCurrent")                             \
  X(cuMemGetInfo_v2, "cuMemGetInfo_v2")                             \
  X(cuStreamCreate, "cuStreamCreate")                               \
  X(cuEventCreate, "cuEventCreate")                                 \
  X(cuEventRecord, "cuEventRecord")                                 \
  X(cuEventSynchronize, "cuEventSynchronize")                       \
  X(cuEventElapsedTime, "cuEventElapsedTime")                       \
  X(cuStreamWaitEvent, "cuStreamWaitEvent")                         \
  X(cuMemcpyDtoHAsync_v2, "cuMemcpyDtoHAsync_v2")                   \
  X(cuMemcpyHtoDAsync_v2, "cuMemcpyHtoDAsync_v2")                   \
  X(cuMemHostRegister_v2, "cuMemHostRegister_v2")                   \
  X(cuMemHostUnregister, "cuMemHostUnregister")                     \
  X(cuMemGetAllocationGranularity, "cuMemGetAllocationGranularity") \
  X(cuMemAddressReserve, "cuMemAddressReserve")                     \
  X(cuMemAddressFree, "cuMemAddressFree")                           \
  X(cuMemCreate, "cuMemCreate")                                     \
  X(cuMemMap, "cuMemMap")                                           \
  X(cuMemSetAccess, "cuMemSetAccess")                               \
  X(cuMemUnmap, "cuMemUnmap")                                       \
  X(cuMemRelease, "cuMemRelease")
#define X(member, name) decltype(&::member) member = nullptr;
  LULL_MEASURE_CALLS(X)
#undef X
  bool open(std::string& why_not);
};

}  // namespace lull

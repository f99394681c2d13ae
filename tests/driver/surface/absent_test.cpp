#include <unistd.h>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

TEST_CASE("green contexts are not offered: making one says so, and every handle of one is wrong") {
  const TestContext context;
  CUgreenCtx green = nullptr;
  CUdevResource resource{};
  CUdevResourceDesc desc = nullptr;
  unsigned groups = 1;
  OK(cuDeviceGetDevResource(0, &resource, CU_DEV_RESOURCE_TYPE_SM));
  CHECK_GE(resource.sm.smCount, 1);
  CHECK_EQ(cuDeviceGetDevResource(0, &resource, CU_DEV_RESOURCE_TYPE_INVALID), CUDA_ERROR_INVALID_RESOURCE_TYPE);
  CHECK_EQ(cuDevSmResourceSplitByCount(nullptr, &groups, &resource, nullptr, 0, 1), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuDevResourceGenerateDesc(&desc, &resource, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGreenCtxCreate(&green, desc, 0, CU_GREEN_CTX_DEFAULT_STREAM), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuGreenCtxCreate(&green, desc, 9, CU_GREEN_CTX_DEFAULT_STREAM), CUDA_ERROR_INVALID_DEVICE);
  CHECK_EQ(cuGreenCtxDestroy(green), CUDA_ERROR_INVALID_CONTEXT);
  green = reinterpret_cast<CUgreenCtx>(&green);
  OK(cuStreamGetGreenCtx(nullptr, &green));
  CHECK_EQ(green, nullptr);
}

TEST_CASE("checkpoints of processes answer that they are not supported, after their arguments") {
  CUprocessState state{};
  int tid = 0;
  CHECK_EQ(cuCheckpointProcessGetState(::getpid(), &state), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuCheckpointProcessGetState(::getpid(), nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuCheckpointProcessGetRestoreThreadId(-1, &tid), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuCheckpointProcessLock(::getpid(), nullptr), CUDA_ERROR_NOT_SUPPORTED);
}

TEST_CASE("core dumps and logs answer that they are not supported, after their arguments") {
  const TestContext context;
  bool on = false;
  std::size_t size = sizeof on;
  CUlogIterator iterator = 0;
  CHECK_EQ(cuCoredumpGetAttribute(CU_COREDUMP_ENABLE_ON_EXCEPTION, &on, &size), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuCoredumpGetAttribute(CU_COREDUMP_MAX, &on, &size), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuCoredumpSetAttributeGlobal(CU_COREDUMP_ENABLE_ON_EXCEPTION, nullptr, &size), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLogsCurrent(&iterator, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuLogsCurrent(&iterator, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("cuCtxAttach counts a context's users, and the last cuCtxDetach destroys it") {
  CUcontext context = nullptr, again = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  CHECK_EQ(cuCtxAttach(&again, 1), CUDA_ERROR_INVALID_VALUE);
  OK(cuCtxAttach(&again, 0));
  CHECK_EQ(again, context);
  OK(cuCtxDetach(context));
  CHECK_EQ(cuCtxDetach(nullptr), CUDA_ERROR_INVALID_CONTEXT);
  OK(cuCtxDetach(context));
  CHECK_EQ(cuCtxDestroy_v2(context), CUDA_ERROR_INVALID_CONTEXT);
  CHECK_EQ(cuCtxAttach(&again, 0), CUDA_ERROR_INVALID_CONTEXT);  // none is current
}

TEST_CASE("a context keeps its cache preference and tells its fixed shared-memory banks") {
  const TestContext context;
  CUfunc_cache cache{};
  CUsharedconfig banks{};
  const volatile int unknown = 9;
  OK(cuCtxSetCacheConfig(CU_FUNC_CACHE_PREFER_L1));
  OK(cuCtxGetCacheConfig(&cache));
  CHECK_EQ(cache, CU_FUNC_CACHE_PREFER_L1);
  CHECK_EQ(cuCtxSetCacheConfig(static_cast<CUfunc_cache>(unknown)), CUDA_ERROR_INVALID_VALUE);
  OK(cuCtxGetSharedMemConfig(&banks));
  CHECK_EQ(banks, CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE);
  CHECK_EQ(cuCtxResetPersistingL2Cache(), CUDA_ERROR_NOT_SUPPORTED);
}

TEST_CASE("the profiler calls succeed with a context and none attached; initialising one is not supported") {
  CHECK_EQ(cuProfilerStart(), CUDA_ERROR_INVALID_CONTEXT);
  const TestContext context;
  OK(cuProfilerStart());
  CHECK_EQ(cuProfilerInitialize("a", "b", CU_OUT_CSV), CUDA_ERROR_NOT_SUPPORTED);
}

TEST_CASE("every device attribute has an answer, and unknown ones an error") {
  int value = -2;
  for (int a = 1; a < CU_DEVICE_ATTRIBUTE_MAX; ++a)
    OK(cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(a), 0));
  for (const int a : {0, -1, static_cast<int>(CU_DEVICE_ATTRIBUTE_MAX), 9999})
    CHECK_EQ(cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(a), 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuDeviceGetAttribute(nullptr, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 1), CUDA_ERROR_INVALID_DEVICE);
}

TEST_CASE("properties, affinity and atomics of a device agree with its attributes") {
  const TestContext context;
  CUdevprop properties{};
  CUexecAffinityParam affinity{};
  int value = 0;
  OK(cuDeviceGetProperties(&properties, 0));
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 0));
  CHECK_EQ(properties.maxThreadsDim[2], value);
  CHECK_EQ(properties.SIMDWidth, 32);
  OK(cuCtxGetExecAffinity(&affinity, CU_EXEC_AFFINITY_TYPE_SM_COUNT));
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
  CHECK_EQ(affinity.param.smCount.val, static_cast<unsigned>(value));
  CHECK_EQ(cuCtxGetExecAffinity(&affinity, CU_EXEC_AFFINITY_TYPE_MAX), CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
  const CUatomicOperation operations[] = {CU_ATOMIC_OPERATION_INTEGER_ADD, CU_ATOMIC_OPERATION_FLOAT_MAX};
  unsigned capabilities[2] = {};
  OK(cuDeviceGetHostAtomicCapabilities(capabilities, operations, 2, 0));
  CHECK((capabilities[0] & CU_ATOMIC_CAPABILITY_SCALAR_64) != 0);
  CHECK_EQ(capabilities[1], 0);
  CHECK_EQ(cuDeviceGetHostAtomicCapabilities(capabilities, operations, 0, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a device has no peer in itself, and no identifier of Windows") {
  int value = 7;
  unsigned mask = 0;
  char luid[8] = {};
  CHECK_EQ(cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 0), CUDA_ERROR_INVALID_DEVICE);
  CHECK_EQ(cuDeviceGetP2PAttribute(nullptr, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuDeviceGetLuid(luid, &mask, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuDeviceGetLuid(nullptr, &mask, 0), CUDA_ERROR_INVALID_VALUE);
}

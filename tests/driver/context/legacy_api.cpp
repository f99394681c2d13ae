// Context functions that cuda.h keeps for old programs.
#include "tests/driver/context/context.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {

// Contexts of cuCtxCreate are counted; the last Detach destroys.
CUresult cuCtxAttach(CUcontext* pctx, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!pctx || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (context->primary()) return CUDA_ERROR_INVALID_CONTEXT;
  ++context->attached;
  *pctx = current_handle();
  return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext ctx) {
  const Found context = current_context();
  if (!context) return context.error;
  if (ctx != current_handle() || context->primary()) return CUDA_ERROR_INVALID_CONTEXT;
  return --context->attached == 0 ? api::cuCtxDestroy_v2(ctx) : CUDA_SUCCESS;
}

// Preferences: kept, and without an effect, as on cards whose cache and banks cannot be configured.
CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  const Found context = current_context();
  if (!context) return context.error;
  if (config < CU_FUNC_CACHE_PREFER_NONE || config > CU_FUNC_CACHE_PREFER_EQUAL) return CUDA_ERROR_INVALID_VALUE;
  context->cache_config = config;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!config) return CUDA_ERROR_INVALID_VALUE;
  *config = context->cache_config;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  const Found context = current_context();
  if (!context) return context.error;
  const bool known = config == CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE ||
                     config == CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE ||
                     config == CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig* config) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!config) return CUDA_ERROR_INVALID_VALUE;
  *config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;  // fixed, as cuda.h says of such cards
  return CUDA_SUCCESS;
}

// No part of the cache can be set aside, as CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE tells.
CUresult cuCtxResetPersistingL2Cache() {
  const Found context = current_context();
  return context ? CUDA_ERROR_NOT_SUPPORTED : context.error;
}

// There is no profiler to start or stop: with none attached these do nothing on any driver.
CUresult cuProfilerStart() { return current_context().error; }
CUresult cuProfilerStop() { return current_context().error; }
// "Starting with CUDA 12.0, it always returns error code CUDA_ERROR_NOT_SUPPORTED."
CUresult cuProfilerInitialize(const char*, const char*, CUoutput_mode) { return CUDA_ERROR_NOT_SUPPORTED; }

}  // namespace lull::sim::api

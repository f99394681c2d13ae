// What is known of functions and kernels. The simulated card has one multiprocessor that runs one block at a time.
#include <algorithm>

#include "tests/driver/code/launch.h"
#include "tests/driver/code/module.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult attribute(int* pi, CUfunction_attribute attrib, const void* handle) {
  const ptx::Kernel* kernel = find_kernel(handle);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!pi) return CUDA_ERROR_INVALID_VALUE;
  const auto function = registry<Function>().find(handle);
  switch (attrib) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *pi = static_cast<int>(kernel->max_threads); break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *pi = static_cast<int>(kernel->shared_bytes); break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *pi = static_cast<int>(kernel->local_bytes); break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *pi = static_cast<int>(kernel->registers); break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *pi = 75; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *pi = function ? function->dynamic_shared_limit.load() : static_cast<int>(usual_shared_bytes);
      break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: *pi = 0; break;
    default: return attrib >= 0 && attrib < CU_FUNC_ATTRIBUTE_MAX ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult name_of(const char** name, const void* handle) {
  const ptx::Kernel* kernel = find_kernel(handle);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  *name = kernel->name.c_str();
  return CUDA_SUCCESS;
}

CUresult parameter_of(const void* handle, size_t index, size_t* offset, size_t* size) {
  const ptx::Kernel* kernel = find_kernel(handle);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!offset || index >= kernel->parameters.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = kernel->parameters[index].offset;
  if (size) *size = kernel->parameters[index].size;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuFuncGetAttribute(int* pi, CUfunction_attribute attrib, CUfunction f) { return attribute(pi, attrib, f); }
CUresult cuKernelGetAttribute(int* pi, CUfunction_attribute attrib, CUkernel k, CUdevice dev) {
  return device_of(dev) ? attribute(pi, attrib, k) : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuFuncGetName(const char** name, CUfunction f) { return name_of(name, f); }
CUresult cuKernelGetName(const char** name, CUkernel k) { return name_of(name, k); }
CUresult cuFuncGetParamInfo(CUfunction f, size_t index, size_t* offset, size_t* size) {
  return parameter_of(f, index, offset, size);
}
CUresult cuKernelGetParamInfo(CUkernel k, size_t index, size_t* offset, size_t* size) {
  return parameter_of(k, index, offset, size);
}

CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute attrib, int value) {
  const Found context = current_context();
  if (!context) return context.error;
  std::shared_ptr<Function> function;
  if (const CUresult failed = find_function(f, *context, function)) return failed;
  if (attrib == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;  // a hint
  if (attrib != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
  if (value < 0 || static_cast<std::size_t>(value) + function->kernel->shared_bytes > largest_shared_bytes)
    return CUDA_ERROR_INVALID_VALUE;
  function->dynamic_shared_limit = value;
  return CUDA_SUCCESS;
}
CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int value, CUkernel k, CUdevice) {
  return api::cuFuncSetAttribute(reinterpret_cast<CUfunction>(k), attrib, value);
}

CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache) {
  return find_kernel(f) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuFuncGetModule(CUmodule* hmod, CUfunction f) {
  const auto function = registry<Function>().find(f);
  if (!function) return CUDA_ERROR_INVALID_HANDLE;
  if (!hmod) return CUDA_ERROR_INVALID_VALUE;
  *hmod = reinterpret_cast<CUmodule>(function->module.get());
  return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction f) {
  if (!state) return CUDA_ERROR_INVALID_VALUE;
  if (!find_kernel(f)) return CUDA_ERROR_INVALID_HANDLE;
  const auto function = registry<Function>().find(f);
  const bool loaded = function && function->module->code_loaded();
  *state = loaded ? CU_FUNCTION_LOADING_STATE_LOADED : CU_FUNCTION_LOADING_STATE_UNLOADED;
  return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction f) {
  const Found context = current_context();
  if (!context) return context.error;
  std::shared_ptr<Function> function;
  if (const CUresult failed = find_function(f, *context, function)) return failed;
  return function->module->load_code();
}

}  // namespace lull::sim::api

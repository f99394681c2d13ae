// Launches as they were before CUDA 4: block shape, shared memory and parameters are set on the function, one by one.
#include <cstring>

#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

constexpr unsigned most_parameter_bytes = 4096;

CUresult find(CUfunction handle, std::shared_ptr<Function>& out) {
  const Found context = current_context();
  if (!context) return context.error;
  out = registry<Function>().find(handle);  // kernels of libraries came later
  return out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult set_bytes(CUfunction handle, int offset, const void* from, unsigned bytes) {
  std::shared_ptr<Function> function;
  if (const CUresult failed = find(handle, function)) return failed;
  if (offset < 0 || !from || bytes > most_parameter_bytes) return CUDA_ERROR_INVALID_VALUE;
  const auto at = static_cast<std::size_t>(offset);
  if (at + bytes > most_parameter_bytes) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(function->old_style.mutex);
  auto& parameters = function->old_style.parameters;
  if (parameters.size() < at + bytes) parameters.resize(at + bytes);
  std::memcpy(parameters.data() + at, from, bytes);
  return CUDA_SUCCESS;
}

CUresult launch(CUfunction handle, int width, int height, CUstream stream) {
  std::shared_ptr<Function> function;
  if (const CUresult failed = find(handle, function)) return failed;
  if (width <= 0 || height <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::byte> parameters;
  std::array<int, 3> block{};
  unsigned shared = 0;
  {
    const std::scoped_lock lock(function->old_style.mutex);
    const auto& set = function->old_style;
    parameters.assign(set.parameters.begin(),
                      set.parameters.begin() + static_cast<std::ptrdiff_t>(set.parameter_bytes));
    block = set.block;
    shared = set.shared;
  }
  std::size_t bytes = parameters.size();
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, parameters.data(), CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  return api::cuLaunchKernel(handle, static_cast<unsigned>(width), static_cast<unsigned>(height), 1,
                             static_cast<unsigned>(block[0]), static_cast<unsigned>(block[1]),
                             static_cast<unsigned>(block[2]), shared, stream, nullptr, bytes ? extra : nullptr);
}

}  // namespace

CUresult cuFuncSetBlockShape(CUfunction hfunc, int x, int y, int z) {
  std::shared_ptr<Function> function;
  if (const CUresult failed = find(hfunc, function)) return failed;
  if (x <= 0 || y <= 0 || z <= 0) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(function->old_style.mutex);
  function->old_style.block = {x, y, z};
  return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedSize(CUfunction hfunc, unsigned bytes) {
  std::shared_ptr<Function> function;
  if (const CUresult failed = find(hfunc, function)) return failed;
  const std::scoped_lock lock(function->old_style.mutex);
  function->old_style.shared = bytes;
  return CUDA_SUCCESS;
}

CUresult cuParamSetSize(CUfunction hfunc, unsigned numbytes) {
  std::shared_ptr<Function> function;
  if (const CUresult failed = find(hfunc, function)) return failed;
  if (numbytes > most_parameter_bytes) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(function->old_style.mutex);
  auto& set = function->old_style;
  set.parameter_bytes = numbytes;
  if (set.parameters.size() < numbytes) set.parameters.resize(numbytes);
  return CUDA_SUCCESS;
}

CUresult cuParamSeti(CUfunction hfunc, int offset, unsigned value) {
  return set_bytes(hfunc, offset, &value, sizeof value);
}
CUresult cuParamSetf(CUfunction hfunc, int offset, float value) {
  return set_bytes(hfunc, offset, &value, sizeof value);
}
CUresult cuParamSetv(CUfunction hfunc, int offset, void* ptr, unsigned numbytes) {
  return set_bytes(hfunc, offset, ptr, numbytes);
}

CUresult cuLaunch(CUfunction f) { return launch(f, 1, 1, nullptr); }
CUresult cuLaunchGrid(CUfunction f, int width, int height) { return launch(f, width, height, nullptr); }
CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream) {
  return launch(f, width, height, stream);
}

}  // namespace lull::sim::api

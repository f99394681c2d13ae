// The context functions of the driver.
#include <algorithm>

#include "tests/driver/context/context.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"
#include "tests/driver/surface/entry.h"

namespace lull::sim {
namespace {

constexpr int deepest = 64;
struct Stack {
  CUcontext contexts[deepest];
  int depth;
};
thread_local constinit Stack stack{};

}  // namespace

CUcontext current_handle() { return stack.depth > 0 ? stack.contexts[stack.depth - 1] : nullptr; }

Found current_context() {
  const CUcontext handle = current_handle();
  if (!handle) return {nullptr, CUDA_ERROR_INVALID_CONTEXT};
  auto context = registry<Context>().find(handle);
  if (!context) return {nullptr, CUDA_ERROR_CONTEXT_IS_DESTROYED};
  const CUresult error = context->error();
  return {std::move(context), error};
}

FoundStream find_stream(CUstream handle) {
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  if (number > 2) {
    auto stream = registry<Stream>().find(handle);
    if (!stream) return {nullptr, CUDA_ERROR_INVALID_HANDLE};
    const CUresult error = stream->life().sticky();
    return {std::move(stream), error};
  }
  const Found context = current_context();
  if (!context) return {nullptr, context.error};
  if (number == 0) return {context->default_stream()};
  return {number == 1 ? context->legacy_stream() : context->thread_stream()};
}

namespace api {
namespace {

constexpr unsigned known_flags = CU_CTX_FLAGS_MASK;

CUresult create(CUcontext* out, unsigned flags, CUdevice dev) {
  if (!out || (flags & ~known_flags)) return CUDA_ERROR_INVALID_VALUE;
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (stack.depth >= deepest) return CUDA_ERROR_INVALID_CONTEXT;
  auto context = std::make_shared<Context>(*device, false);
  if (const CUresult failed = context->activate(flags)) return failed;
  *out = handle_of(registry<Context>().add(std::move(context)));
  stack.contexts[stack.depth++] = *out;
  return CUDA_SUCCESS;
}

// A context to act on: NULL means the current one.
std::shared_ptr<Context> chosen(CUcontext handle) {
  return registry<Context>().find(handle ? handle : current_handle());
}

}  // namespace

CUresult cuCtxCreate_v2(CUcontext* pctx, unsigned flags, CUdevice dev) { return create(pctx, flags, dev); }

CUresult cuCtxCreate_v3(CUcontext* pctx, CUexecAffinityParam*, int numParams, unsigned flags, CUdevice dev) {
  return numParams == 0 ? create(pctx, flags, dev) : CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}

CUresult cuCtxCreate_v4(CUcontext* pctx, CUctxCreateParams* params, unsigned flags, CUdevice dev) {
  if (params && (params->numExecAffinityParams || params->cigParams)) return CUDA_ERROR_NOT_SUPPORTED;
  return create(pctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
  auto context = registry<Context>().find(ctx);
  if (!context || context->primary()) return CUDA_ERROR_INVALID_CONTEXT;
  if (!registry<Context>().remove(ctx)) return CUDA_ERROR_INVALID_CONTEXT;  // another thread destroys it
  if (current_handle() == ctx) --stack.depth;
  context->deactivate();
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
  if (!registry<Context>().find(ctx) || stack.depth >= deepest) return CUDA_ERROR_INVALID_CONTEXT;
  stack.contexts[stack.depth++] = ctx;
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* pctx) {
  if (stack.depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  --stack.depth;
  if (pctx) *pctx = stack.contexts[stack.depth];
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx) {
  if (!ctx) {
    if (stack.depth > 0) --stack.depth;
    return CUDA_SUCCESS;
  }
  if (!registry<Context>().find(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.depth == 0) ++stack.depth;
  stack.contexts[stack.depth - 1] = ctx;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* pctx) {
  if (!pctx) return CUDA_ERROR_INVALID_VALUE;
  *pctx = current_handle();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) { return api::cuCtxGetDevice_v2(device, nullptr); }

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext ctx) {
  const auto context = chosen(ctx);
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  *device = context->device().ordinal;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() { return api::cuCtxSynchronize_v2(nullptr); }

CUresult cuCtxSynchronize_v2(CUcontext ctx) {
  const auto context = chosen(ctx);
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  if (const CUresult error = context->error()) return error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  return context->synchronize();
}

CUresult cuCtxGetFlags(unsigned* flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!flags) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (flags & ~known_flags) return CUDA_ERROR_INVALID_VALUE;
  context->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long* ctxId) {
  const auto context = chosen(ctx);
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (!ctxId) return CUDA_ERROR_INVALID_VALUE;
  *ctxId = context->id();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  const Found context = current_context();
  if (!context) return context.error;
  // Local memory is in use while kernels run.
  if (limit == CU_LIMIT_STACK_SIZE) {
    if (const CUresult failed = context->synchronize()) return failed;
  }
  return context->limits.set(limit, value);
}

CUresult cuCtxGetLimit(size_t* pvalue, CUlimit limit) {
  const Found context = current_context();
  if (!context) return context.error;
  return context->limits.get(limit, pvalue);
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned* version) {
  if (!chosen(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = 3020;  // as every driver since 3.2 answers for contexts of the current interface
  return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  const Found context = current_context();
  if (!context) return context.error;
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* pctx, CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!pctx) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(device->mutex);
  if (!device->primary->active()) {
    if (const CUresult failed = device->primary->activate(device->primary_flags)) return failed;
  }
  ++device->retained;
  *pctx = handle_of(device->primary.get());
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  const std::scoped_lock lock(device->mutex);
  if (device->retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--device->retained == 0) device->primary->deactivate();
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  // The references stay: "the primary context is reset even if it is in use", and its next use brings it back.
  const std::scoped_lock lock(device->mutex);
  device->primary->deactivate();
  if (device->retained > 0) return device->primary->activate(device->primary_flags);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned flags) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (flags & ~known_flags) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(device->mutex);
  device->primary_flags = flags;
  device->primary->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned* flags, int* active) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!flags || !active) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(device->mutex);
  *flags = device->primary_flags;
  *active = device->primary->active();
  return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto other = registry<Context>().find(peer);
  if (!other) return CUDA_ERROR_INVALID_CONTEXT;
  return &other->device() == &context->device() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
  const Found context = current_context();
  if (!context) return context.error;
  return registry<Context>().find(peer) ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED : CUDA_ERROR_INVALID_CONTEXT;
}

}  // namespace api
}  // namespace lull::sim

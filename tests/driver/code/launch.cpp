// Kernel launches: the calls.
#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/graph/capture.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult launch(CUfunction f, const LaunchShape& shape, LaunchAttributes attributes, CUstream hStream, void** params,
                void** extra) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const auto context = stream->context();
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  // A captured kernel keeps the priority of its stream, for graphs that go by the priorities of their nodes.
  if (capture_of(*stream) && !attributes.contains(CU_LAUNCH_ATTRIBUTE_PRIORITY)) {
    CUlaunchAttributeValue priority{};
    priority.priority = stream->priority();
    attributes.emplace(CU_LAUNCH_ATTRIBUTE_PRIORITY, priority);
  }
  std::shared_ptr<const KernelOperation> kernel;
  const CUresult failed = KernelOperation::make(f, shape, std::move(attributes), *context, params, extra, kernel);
  return failed ? failed : submit(*stream, kernel);
}

LaunchAttributes cooperative() {
  CUlaunchAttributeValue value{};
  value.cooperative = 1;
  return {{CU_LAUNCH_ATTRIBUTE_COOPERATIVE, value}};
}

}  // namespace

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream hStream, void** params, void** extra) {
  return launch(f, {{gx, gy, gz}, {bx, by, bz}, shared}, {}, hStream, params, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                   unsigned bz, unsigned shared, CUstream hStream, void** params) {
  return launch(f, {{gx, gy, gz}, {bx, by, bz}, shared}, cooperative(), hStream, params, nullptr);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void** params, void** extra) {
  if (!c || (c->numAttrs && !c->attrs)) return CUDA_ERROR_INVALID_VALUE;
  const LaunchShape shape{
      {c->gridDimX, c->gridDimY, c->gridDimZ}, {c->blockDimX, c->blockDimY, c->blockDimZ}, c->sharedMemBytes};
  LaunchAttributes attributes;
  for (unsigned i = 0; i < c->numAttrs; ++i) attributes[c->attrs[i].id] = c->attrs[i].value;
  return launch(f, shape, std::move(attributes), c->hStream, params, extra);
}

// One launch on each of several devices. This card's attributes say that it cannot; a list that makes no sense is told.
CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS* launches, unsigned numDevices, unsigned flags) {
  constexpr unsigned known = CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_PRE_LAUNCH_SYNC |
                             CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_POST_LAUNCH_SYNC;
  if (!launches || numDevices == 0 || numDevices > devices().size() || (flags & ~known))
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace lull::sim::api

#include <thread>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUstream blocking_stream() {
  CUstream made = nullptr;
  OK(cuStreamCreate(&made, CU_STREAM_DEFAULT));
  return made;
}

CUresult allocate_elsewhere(CUcontext context, CUstreamCaptureMode mode) {
  CUresult result = CUDA_SUCCESS;
  std::thread([&] {
    OK(cuCtxSetCurrent(context));
    OK(cuThreadExchangeStreamCaptureMode(&mode));
    CUdeviceptr d = 0;
    result = cuMemAlloc_v2(&d, 64);
  }).join();
  return result;
}

}  // namespace

TEST_CASE("a captured stream does nothing until its graph is launched, then does it each time") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 64));
  OK(cuMemsetD8_v2(d, 0, 64));
  const CUstream s = blocking_stream();
  std::uint32_t n = 16, word = 9;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(launch(add_one, n, s, {&d, &n}));
  OK(launch(add_one, n, s, {&d, &n}));
  CUstreamCaptureStatus status{};
  OK(cuStreamIsCapturing(s, &status));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CUgraph graph = nullptr;
  OK(cuStreamEndCapture(s, &graph));
  OK(cuMemcpyDtoH_v2(&word, d, 4));
  CHECK_EQ(word, 0);

  std::size_t nodes = 0;
  OK(cuGraphGetNodes(graph, nullptr, &nodes));
  CHECK_EQ(nodes, 2);
  CUgraphExec exec = nullptr;
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  OK(cuGraphLaunch(exec, s));
  OK(cuGraphLaunch(exec, s));
  OK(cuMemcpyDtoH_v2(&word, d, 4));
  CHECK_EQ(word, 4);
  OK(cuGraphExecDestroy(exec));
}

TEST_CASE("an unsafe call of another thread fails and invalidates a GLOBAL capture, but not from a RELAXED thread") {
  const TestContext context;
  const CUstream s = blocking_stream();
  CUgraph graph = nullptr;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CHECK_EQ(allocate_elsewhere(context.handle, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_SUCCESS);
  OK(cuStreamEndCapture(s, &graph));
  OK(cuGraphDestroy(graph));

  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CHECK_EQ(allocate_elsewhere(context.handle, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK_EQ(cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK_EQ(graph, nullptr);
}

TEST_CASE("the legacy stream may not be used while a blocking stream captures") {
  const TestContext context;
  const CUstream s = blocking_stream();
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 64));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
  CHECK_EQ(cuMemsetD8Async(d, 0, 64, nullptr), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CUgraph graph = nullptr;
  CHECK_EQ(cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("a stream that waits for an event of a capture joins it") {
  const TestContext context;
  const CUstream a = blocking_stream(), b = blocking_stream();
  CUevent fork = nullptr, join = nullptr;
  OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
  OK(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 64));
  CUgraph graph = nullptr;
  CUstreamCaptureStatus status{};
  OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuEventRecord(fork, a));
  OK(cuStreamWaitEvent(b, fork, 0));
  OK(cuStreamIsCapturing(b, &status));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(cuMemsetD8Async(d, 1, 64, b));
  OK(cuEventRecord(join, b));
  OK(cuStreamWaitEvent(a, join, 0));
  OK(cuStreamEndCapture(a, &graph));
  CHECK_EQ(cuEventQuery(join), CUDA_ERROR_CAPTURED_EVENT);
  OK(cuStreamIsCapturing(b, &status));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
  OK(cuGraphDestroy(graph));
}

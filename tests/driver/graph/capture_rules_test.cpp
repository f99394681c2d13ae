// What captures forbid, and how each breach is told.
#include <thread>

#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

namespace {

struct Capturing {
  explicit Capturing(CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED, unsigned flags = CU_STREAM_NON_BLOCKING)
      : stream(new_stream(flags)) {
    OK(cuStreamBeginCapture_v2(stream, mode));
  }
  ~Capturing() { (void)cuStreamDestroy_v2(stream); }
  Capturing(const Capturing&) = delete;
  Capturing& operator=(const Capturing&) = delete;
  CUresult end() {
    CUgraph graph = nullptr;
    const CUresult result = cuStreamEndCapture(stream, &graph);
    if (graph) OK(cuGraphDestroy(graph));
    return result;
  }
  std::vector<CUgraphNode> dependencies() const {
    CUstreamCaptureStatus status{};
    const CUgraphNode* nodes = nullptr;
    std::size_t count = 0;
    OK(cuStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count));
    return {nodes, nodes + count};
  }
  CUgraph graph() const {
    CUstreamCaptureStatus status{};
    CUgraph handle = nullptr;
    OK(cuStreamGetCaptureInfo_v2(stream, &status, nullptr, &handle, nullptr, nullptr));
    return handle;
  }
  CUstream stream;
};

}  // namespace

TEST_CASE("each captured node depends on the one before it in its stream") {
  const TestContext context;
  Buffer buffer;
  Capturing capture;
  OK(cuMemsetD8Async(buffer.at, 1, 4, capture.stream));
  const auto first = capture.dependencies();
  REQUIRE_EQ(first.size(), 1);
  OK(cuMemsetD8Async(buffer.at, 2, 4, capture.stream));
  const auto second = capture.dependencies();
  REQUIRE_EQ(second.size(), 1);
  CUgraphNode before = nullptr;
  std::size_t count = 1;
  OK(cuGraphNodeGetDependencies(second[0], &before, &count));
  CHECK_EQ(before, first[0]);
  CHECK_EQ(capture.end(), CUDA_SUCCESS);
}

TEST_CASE("streams that fork and join by events make a diamond") {
  const TestContext context;
  Buffer buffer;
  Capturing a;
  const CUstream b = new_stream();
  const CUevent fork = new_event(), join = new_event();
  OK(cuMemsetD8Async(buffer.at, 1, 4, a.stream));
  OK(cuEventRecord(fork, a.stream));
  OK(cuStreamWaitEvent(b, fork, 0));
  OK(cuMemsetD8Async(buffer.at, 2, 4, b));
  OK(cuMemsetD8Async(buffer.at + 4, 2, 4, a.stream));
  OK(cuEventRecord(join, b));
  OK(cuStreamWaitEvent(a.stream, join, 0));
  CHECK_EQ(a.dependencies().size(), 2);
  OK(cuMemsetD8Async(buffer.at, 3, 4, a.stream));
  const auto last = a.dependencies();
  REQUIRE_EQ(last.size(), 1);
  std::size_t edges = 0, behind = 0;
  OK(cuGraphGetEdges(a.graph(), nullptr, nullptr, &edges));
  OK(cuGraphNodeGetDependencies(last[0], nullptr, &behind));
  CHECK_EQ(edges, 4);
  CHECK_EQ(behind, 2);
  CHECK_EQ(a.end(), CUDA_SUCCESS);
}

TEST_CASE("900: a capturing stream is not synchronised, queried or given callbacks") {
  const TestContext context;
  {
    Capturing capture;
    CHECK_EQ(cuStreamSynchronize(capture.stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  {
    Capturing capture;
    CHECK_EQ(cuStreamQuery(capture.stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  Capturing capture;
  const CUstreamCallback nothing = [](CUstream, CUresult, void*) {};
  CHECK_EQ(cuStreamAddCallback(capture.stream, nothing, nullptr, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("900: the legacy stream cannot capture") {
  const TestContext context;
  CHECK_EQ(cuStreamBeginCapture_v2(CU_STREAM_LEGACY, CU_STREAM_CAPTURE_MODE_RELAXED),
           CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  OK(cuStreamBeginCapture_v2(CU_STREAM_PER_THREAD, CU_STREAM_CAPTURE_MODE_RELAXED));
  CUgraph graph = nullptr;
  OK(cuStreamEndCapture(CU_STREAM_PER_THREAD, &graph));
  OK(cuGraphDestroy(graph));
}

TEST_CASE("901: work for a capture that is invalid is refused until it ends") {
  const TestContext context;
  Buffer buffer;
  Capturing capture;
  (void)cuStreamQuery(capture.stream);
  CHECK_EQ(cuMemsetD8Async(buffer.at, 1, 4, capture.stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CUstreamCaptureStatus status{};
  OK(cuStreamIsCapturing(capture.stream, &status));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  OK(cuMemsetD8Async(buffer.at, 1, 4, capture.stream));
}

TEST_CASE("902: a wait does not merge two captures, and both are invalid") {
  const TestContext context;
  Capturing a, b;
  const CUevent event = new_event();
  OK(cuEventRecord(event, a.stream));
  CHECK_EQ(cuStreamWaitEvent(b.stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  CHECK_EQ(a.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK_EQ(b.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("903: a capture ends in the stream it began in") {
  const TestContext context;
  Capturing a;
  const CUstream b = new_stream();
  const CUevent fork = new_event();
  OK(cuEventRecord(fork, a.stream));
  OK(cuStreamWaitEvent(b, fork, 0));
  CUgraph graph = nullptr;
  CHECK_EQ(cuStreamEndCapture(b, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  CHECK_EQ(a.end(), CUDA_SUCCESS);
  CHECK_EQ(cuStreamEndCapture(b, &graph), CUDA_ERROR_ILLEGAL_STATE);
}

TEST_CASE("904: what other streams have done is joined before a capture ends") {
  const TestContext context;
  Buffer buffer;
  Capturing a;
  const CUstream b = new_stream();
  const CUevent fork = new_event();
  OK(cuEventRecord(fork, a.stream));
  OK(cuStreamWaitEvent(b, fork, 0));
  OK(cuMemsetD8Async(buffer.at, 1, 4, b));
  CHECK_EQ(a.end(), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  CUstreamCaptureStatus status{};
  OK(cuStreamIsCapturing(b, &status));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
}

TEST_CASE("904: a node taken out of its stream's dependencies needs no join") {
  const TestContext context;
  Buffer buffer;
  Capturing a;
  const CUstream b = new_stream();
  const CUevent fork = new_event();
  OK(cuEventRecord(fork, a.stream));
  OK(cuStreamWaitEvent(b, fork, 0));
  OK(cuMemsetD8Async(buffer.at, 1, 4, b));
  OK(cuStreamUpdateCaptureDependencies(b, nullptr, 0, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
  CHECK_EQ(a.end(), CUDA_SUCCESS);
}

TEST_CASE("905: a capturing stream does not wait for what was recorded outside") {
  const TestContext context;
  const CUstream outside = new_stream();
  const CUevent event = new_event();
  OK(cuEventRecord(event, outside));
  Capturing capture;
  CHECK_EQ(cuStreamWaitEvent(capture.stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("906: asking the legacy stream whether it captures is a use of it") {
  const TestContext context;
  Capturing capture(CU_STREAM_CAPTURE_MODE_RELAXED, CU_STREAM_DEFAULT);
  CUstreamCaptureStatus status{};
  CHECK_EQ(cuStreamIsCapturing(nullptr, &status), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("906: the legacy stream does not join a capture") {
  const TestContext context;
  Capturing capture;
  const CUevent event = new_event();
  OK(cuEventRecord(event, capture.stream));
  CHECK_EQ(cuStreamWaitEvent(nullptr, event, 0), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("907: an event that was last recorded in a capture stands for no work") {
  const TestContext context;
  const CUevent event = new_event();
  const CUstream other = new_stream();
  {
    Capturing capture;
    OK(cuEventRecord(event, capture.stream));
    CHECK_EQ(cuEventSynchronize(event), CUDA_ERROR_CAPTURED_EVENT);
    CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_CAPTURED_EVENT);
  CHECK_EQ(cuStreamWaitEvent(other, event, 0), CUDA_ERROR_CAPTURED_EVENT);
  OK(cuEventRecord(event, other));  // until it is recorded again
  OK(cuEventSynchronize(event));
}

TEST_CASE("908: only the thread that began a capture ends it, unless it is relaxed") {
  const TestContext context;
  for (const auto mode : {CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_RELAXED}) {
    Capturing capture(mode);
    CUresult elsewhere = CUDA_SUCCESS;
    std::thread([&] { elsewhere = capture.end(); }).join();
    const bool relaxed = mode == CU_STREAM_CAPTURE_MODE_RELAXED;
    CHECK_EQ(elsewhere, relaxed ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    if (!relaxed) CHECK_EQ(capture.end(), CUDA_SUCCESS);
  }
}

TEST_CASE("a thread-local capture forbids unsafe calls to its own thread alone") {
  const TestContext context;
  CUdeviceptr d = 0;
  Capturing capture(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  CUresult elsewhere = CUDA_ERROR_UNKNOWN;
  std::thread([&] {
    OK(cuCtxSetCurrent(context.handle));
    elsewhere = cuMemAlloc_v2(&d, 64);
  }).join();
  CHECK_EQ(elsewhere, CUDA_SUCCESS);
  CHECK_EQ(cuMemAlloc_v2(&d, 64), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK_EQ(capture.end(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("a stream captures once at a time") {
  const TestContext context;
  Capturing capture;
  CHECK_EQ(cuStreamBeginCapture_v2(capture.stream, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_ILLEGAL_STATE);
  CHECK_EQ(cuStreamBeginCapture_v2(capture.stream, static_cast<CUstreamCaptureMode>(3)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(capture.end(), CUDA_SUCCESS);
}

TEST_CASE("a capture into a graph goes on behind the nodes it is given") {
  const TestContext context;
  const TestGraph graph;
  Buffer buffer;
  const CUgraphNode set = graph.fill(buffer, 5);
  const CUstream s = new_stream();
  OK(cuStreamBeginCaptureToGraph(s, graph.handle, &set, nullptr, 1, CU_STREAM_CAPTURE_MODE_RELAXED));
  std::uint32_t n = words_in_buffer;
  OK(launch(kernel("add_one"), n, s, {&buffer.at, &n}));
  CUgraphExec exec = nullptr;
  CHECK_EQ(cuGraphInstantiateWithFlags(&exec, graph.handle, 0), CUDA_ERROR_INVALID_VALUE);  // not before it has ended
  CHECK_EQ(cuGraphDestroy(graph.handle), CUDA_ERROR_INVALID_VALUE);
  CUgraph ended = nullptr;
  OK(cuStreamEndCapture(s, &ended));
  CHECK_EQ(ended, graph.handle);
  CHECK_EQ(graph.size(), 2);
  const Exec run(graph.handle);
  run.run();
  CHECK_EQ(buffer.word(), 6);
}

TEST_CASE("the graph of a capture takes nodes by hand, which the stream then goes on behind") {
  const TestContext context;
  Buffer buffer;
  Capturing capture;
  CUgraphNode node = nullptr;
  OK(cuGraphAddEmptyNode(&node, capture.graph(), nullptr, 0));
  OK(cuStreamUpdateCaptureDependencies(capture.stream, &node, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
  CHECK_EQ(capture.dependencies().size(), 1);
  CHECK_EQ(cuStreamUpdateCaptureDependencies(capture.stream, &node, 1, 7), CUDA_ERROR_INVALID_VALUE);
  const TestGraph other;
  const CUgraphNode foreign = other.empty();
  CUgraphNode not_of_it = foreign;
  CHECK_EQ(cuStreamUpdateCaptureDependencies(capture.stream, &not_of_it, 1, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphDestroyNode(node), CUDA_ERROR_INVALID_VALUE);  // not while it captures
  CHECK_EQ(capture.end(), CUDA_SUCCESS);
  CHECK_EQ(cuStreamUpdateCaptureDependencies(capture.stream, &node, 1, 0), CUDA_ERROR_ILLEGAL_STATE);
}

TEST_CASE("a stream destroyed in capture takes the capture along") {
  const TestContext context;
  const CUstream s = new_stream();
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(cuStreamDestroy_v2(s));
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 64));  // nothing captures any more
}

TEST_CASE("external records and waits of a capture become nodes") {
  const TestContext context;
  Capturing capture;
  const CUevent event = new_event();
  OK(cuEventRecordWithFlags(event, capture.stream, CU_EVENT_RECORD_EXTERNAL));
  CUgraphNodeType type{};
  OK(cuGraphNodeGetType(capture.dependencies().at(0), &type));
  CHECK_EQ(type, CU_GRAPH_NODE_TYPE_EVENT_RECORD);
  OK(cuStreamWaitEvent(capture.stream, event, CU_EVENT_WAIT_EXTERNAL));
  OK(cuGraphNodeGetType(capture.dependencies().at(0), &type));
  CHECK_EQ(type, CU_GRAPH_NODE_TYPE_WAIT_EVENT);
  CHECK_EQ(capture.end(), CUDA_SUCCESS);
}

TEST_CASE("captured nodes can be asked for their parameters") {
  const TestContext context;
  Buffer buffer;
  Capturing capture;
  std::uint32_t n = words_in_buffer, source = 1;
  OK(launch(kernel("add_one"), n, capture.stream, {&buffer.at, &n}));
  CUDA_KERNEL_NODE_PARAMS launched{};
  OK(cuGraphKernelNodeGetParams_v2(capture.dependencies().at(0), &launched));
  CHECK_EQ(launched.blockDimX, n);
  OK(cuMemcpyHtoDAsync_v2(buffer.at, &source, 4, capture.stream));
  CUDA_MEMCPY3D copied{};
  OK(cuGraphMemcpyNodeGetParams(capture.dependencies().at(0), &copied));
  CHECK_EQ(copied.srcHost, &source);
  CHECK_EQ(copied.dstDevice, buffer.at);
  CHECK_EQ(copied.WidthInBytes, 4);
  OK(cuMemsetD32Async(buffer.at, 7, 3, capture.stream));
  CUDA_MEMSET_NODE_PARAMS filled{};
  OK(cuGraphMemsetNodeGetParams(capture.dependencies().at(0), &filled));
  CHECK_EQ(filled.value, 7);
  CHECK_EQ(filled.width, 3);
  CHECK_EQ(capture.end(), CUDA_SUCCESS);
}

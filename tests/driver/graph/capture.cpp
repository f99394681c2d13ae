#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "tests/driver/context/context.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

// Guards every Stream::capture, every Capture and this list of the open ones.
std::mutex& capture_mutex() {
  static auto& one = *new std::mutex;
  return one;
}
std::vector<std::shared_ptr<Capture>>& open_captures() {
  static auto& all = *new std::vector<std::shared_ptr<Capture>>;
  return all;
}
std::atomic<int> open_count{0};
thread_local constinit CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

int this_thread() { return static_cast<int>(::syscall(SYS_gettid)); }

// Locked. Every stream that takes part leaves the capture.
void end(const std::shared_ptr<Capture>& capture, Context& context) {
  for (const auto& stream : context.streams()) {
    if (stream->capture == capture) stream->capture.reset();
  }
  open_count -= static_cast<int>(std::erase(open_captures(), capture));
}

// Locked. The legacy stream may not be used while a stream that it is ordered against captures.
bool blocks_legacy(Context& context) {
  bool blocked = false;
  for (const auto& stream : context.streams()) {
    if (!stream->capture || stream->kind() == Stream::Kind::non_blocking) continue;
    stream->capture->invalid = true;
    blocked = true;
  }
  return blocked;
}

}  // namespace

bool any_capture() { return open_count.load(std::memory_order_relaxed) > 0; }

CUresult unsafe_during_capture() {
  if (!any_capture() || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  const std::scoped_lock lock(capture_mutex());
  bool forbidden = false;
  for (const auto& capture : open_captures()) {
    const bool own = capture->thread == this_thread() && capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    const bool anybodys =
        thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!own && !anybodys) continue;
    capture->invalid = true;
    forbidden = true;
  }
  return forbidden ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

bool captured(Stream& stream, CUgraphNodeType type, const Work& work, After after, CUresult& result) {
  if (!any_capture()) return false;
  const auto context = stream.context();
  const std::scoped_lock lock(capture_mutex());
  if (!stream.capture) {
    const bool refused = stream.kind() == Stream::Kind::legacy && context && blocks_legacy(*context);
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    return refused;
  }
  result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream.capture->invalid) return true;
  auto& nodes = stream.capture->graph->nodes;
  nodes.push_back(std::make_shared<Node>(Node{type, work, after}));
  stream.capture->last = {reinterpret_cast<CUgraphNode>(nodes.back().get())};
  result = CUDA_SUCCESS;
  return true;
}

CUresult join_capture(Stream& stream, const std::shared_ptr<Capture>& capture) {
  const std::scoped_lock lock(capture_mutex());
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream.capture && stream.capture != capture) return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  if (std::ranges::find(open_captures(), capture) == open_captures().end()) return CUDA_ERROR_CAPTURED_EVENT;
  stream.capture = capture;
  return CUDA_SUCCESS;
}

std::shared_ptr<Capture> capture_of(Stream& stream) {
  if (!any_capture()) return nullptr;
  const std::scoped_lock lock(capture_mutex());
  return stream.capture;
}

void drop_captures_of(Context& context) {
  const auto streams = context.streams();
  const std::scoped_lock lock(capture_mutex());
  for (const auto& stream : streams) {
    if (const auto capture = stream->capture) end(capture, context);
  }
}

namespace api {

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  static std::atomic<std::uint64_t> last_id{0};
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  if (stream->kind() == Stream::Kind::legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  const std::scoped_lock lock(capture_mutex());
  if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  stream->capture = std::make_shared<Capture>(
      Capture{mode, this_thread(), ++last_id, stream.stream.get(), std::make_shared<Graph>(), {}});
  open_captures().push_back(stream->capture);
  ++open_count;
  return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream hStream) {
  return api::cuStreamBeginCapture_v2(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph* phGraph) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!phGraph) return CUDA_ERROR_INVALID_VALUE;
  const auto context = stream->context();
  const std::scoped_lock lock(capture_mutex());
  const auto capture = stream->capture;
  *phGraph = nullptr;
  if (!capture || !context) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream.stream.get()) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != this_thread())
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  end(capture, *context);
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  *phGraph = reinterpret_cast<CUgraph>(registry<Graph>().add(capture->graph));
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                   const CUgraphNode** dependencies, size_t* numDependencies) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!status) return CUDA_ERROR_INVALID_VALUE;
  const auto context = stream->context();
  const std::scoped_lock lock(capture_mutex());
  const auto& capture = stream->capture;
  if (!capture && stream->kind() == Stream::Kind::legacy && context && blocks_legacy(*context)) {
    return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  *status = CU_STREAM_CAPTURE_STATUS_NONE;
  if (!capture) return CUDA_SUCCESS;
  *status = capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (id) *id = capture->id;
  if (graph) *graph = reinterpret_cast<CUgraph>(capture->graph.get());
  if (dependencies) *dependencies = capture->last.data();
  if (numDependencies) *numDependencies = capture->last.size();
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id) {
  return api::cuStreamGetCaptureInfo_v2(hStream, status, id, nullptr, nullptr, nullptr);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                   const CUgraphNode** dependencies, const CUgraphEdgeData** edges,
                                   size_t* numDependencies) {
  if (edges) *edges = nullptr;  // only plain edges are made here
  return api::cuStreamGetCaptureInfo_v2(hStream, status, id, graph, dependencies, numDependencies);
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus* status) {
  return api::cuStreamGetCaptureInfo_v2(hStream, status, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, thread_mode);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim

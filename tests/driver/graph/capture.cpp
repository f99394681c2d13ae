#include "tests/driver/graph/capture.h"

#include <algorithm>

#include "tests/driver/context/context.h"
#include "tests/driver/graph/capture_state.h"
#include "tests/driver/graph/graph.h"

namespace lull::sim {
namespace {

std::vector<std::shared_ptr<Capture>>& open_captures() {
  static auto& all = *new std::vector<std::shared_ptr<Capture>>;
  return all;
}
std::atomic<int> open_count{0};

bool is_open(const std::shared_ptr<Capture>& capture) {
  return std::ranges::find(open_captures(), capture) != open_captures().end();
}

}  // namespace

bool any_capture() { return open_count.load(std::memory_order_relaxed) > 0; }

void open_capture(const std::shared_ptr<Capture>& capture) {
  open_captures().push_back(capture);
  ++open_count;
}

void close_capture(const std::shared_ptr<Capture>& capture) {
  for (const auto& [stream, dependencies] : capture->streams) {
    if (stream->capture == capture) stream->capture.reset();
  }
  capture->streams.clear();
  capture->graph->captured_into = false;
  open_count -= static_cast<int>(std::erase(open_captures(), capture));
}

bool implicitly_captured(const Stream& stream) {
  const auto context = stream.context();
  if (stream.kind() != Stream::Kind::legacy || !context) return false;
  bool blocked = false;
  for (const auto& other : context->streams()) {
    if (!other->capture || other->kind() == Stream::Kind::non_blocking) continue;
    other->capture->invalid = true;
    blocked = true;
  }
  return blocked;
}

CUresult unsafe_during_capture() {
  const CUstreamCaptureMode mode = thread_capture_mode();
  if (!any_capture() || mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  const std::scoped_lock lock(graph_mutex());
  bool forbidden = false;
  for (const auto& capture : open_captures()) {
    const bool own = capture->thread == calling_thread() && capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    const bool anybodys = mode == CU_STREAM_CAPTURE_MODE_GLOBAL && capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!own && !anybodys) continue;
    capture->invalid = true;
    forbidden = true;
  }
  return forbidden ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

CUresult forbidden_in_capture(Stream& stream) {
  if (!any_capture()) return CUDA_SUCCESS;
  const std::scoped_lock lock(graph_mutex());
  if (implicitly_captured(stream)) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  if (!stream.capture) return CUDA_SUCCESS;
  stream.capture->invalid = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

bool captured(Stream& stream, const OperationPtr& work, CUresult& result) {
  if (!any_capture()) return false;
  const std::scoped_lock lock(graph_mutex());
  if (!stream.capture) {
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    return implicitly_captured(stream);
  }
  result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream.capture->invalid) return true;
  Dependencies& behind = stream.capture->streams[stream.shared_from_this()];
  Node* node = nullptr;
  result = add_node(*stream.capture->graph, work, stream.context(), {behind.nodes, behind.edges.data()}, node);
  if (result == CUDA_SUCCESS) behind = {{handle_of(*node)}, {CUgraphEdgeData{}}};
  return true;
}

std::shared_ptr<Capture> capture_of(Stream& stream, Dependencies* dependencies) {
  if (!any_capture()) return nullptr;
  const std::scoped_lock lock(graph_mutex());
  if (stream.capture && dependencies) *dependencies = stream.capture->streams[stream.shared_from_this()];
  return stream.capture;
}

CUresult join_capture(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Capture>& capture,
                      const Dependencies& dependencies) {
  const std::scoped_lock lock(graph_mutex());
  if (!is_open(capture)) return CUDA_ERROR_CAPTURED_EVENT;
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream->capture && stream->capture != capture) {
    stream->capture->invalid = capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  if (stream->kind() == Stream::Kind::legacy) {
    capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  stream->capture = capture;
  add_dependencies(capture->streams[stream], dependencies);
  return CUDA_SUCCESS;
}

void add_dependencies(Dependencies& to, const Dependencies& more) {
  for (std::size_t i = 0; i < more.nodes.size(); ++i) {
    const bool alive = find_node(more.nodes[i]) != nullptr;  // nodes may be removed while events still name them
    if (!alive || std::ranges::find(to.nodes, more.nodes[i]) != to.nodes.end()) continue;
    to.nodes.push_back(more.nodes[i]);
    to.edges.push_back(more.edges[i]);
  }
}

void invalidate(const std::shared_ptr<Capture>& capture) {
  const std::scoped_lock lock(graph_mutex());
  capture->invalid = true;
}

void leave_captures(const std::shared_ptr<Stream>& stream) {
  if (!any_capture()) return;
  const std::scoped_lock lock(graph_mutex());
  const auto capture = stream->capture;
  if (!capture || capture->origin != stream.get()) return;  // one that only joined leaves its nodes unjoined
  close_capture(capture);
  if (!capture->into_existing) withdraw(*capture->graph);
}

void drop_captures_of(Context& context) {
  for (const auto& stream : context.streams()) leave_captures(stream);
}

}  // namespace lull::sim

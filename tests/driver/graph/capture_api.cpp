// The calls that begin, look at and end captures.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "tests/driver/context/context.h"
#include "tests/driver/graph/capture_state.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

thread_local constinit CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

bool is_mode(CUstreamCaptureMode mode) {
  return mode >= CU_STREAM_CAPTURE_MODE_GLOBAL && mode <= CU_STREAM_CAPTURE_MODE_RELAXED;
}

// Whether all that any stream has done in the capture comes before what its first stream would do next. Nodes that
// were taken out of a stream's dependencies by the program do not count.
bool is_joined(const Capture& capture, const std::shared_ptr<Stream>& origin) {
  std::unordered_set<const Node*> reached;
  std::vector<const Node*> to_visit;
  const auto visit = [&](const Node* node) {
    if (node && reached.insert(node).second) to_visit.push_back(node);
  };
  for (const CUgraphNode handle : capture.streams.at(origin).nodes) visit(find_node(handle).get());
  while (!to_visit.empty()) {
    const Node* node = to_visit.back();
    to_visit.pop_back();
    for (const Edge& edge : node->dependencies) visit(edge.from);
  }
  return std::ranges::all_of(capture.streams, [&](const auto& part) {
    return std::ranges::all_of(part.second.nodes, [&](CUgraphNode handle) {
      const auto node = find_node(handle);
      return !node || reached.contains(node.get());
    });
  });
}

// Locked. The nodes of a graph that a capture begins behind, or that it is told to go on behind.
CUresult dependencies_in(const Graph& graph, const CUgraphNode* nodes, const CUgraphEdgeData* data, size_t count,
                         Dependencies& out) {
  if (count && !nodes) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    const auto node = find_node(nodes[i]);
    if (!node || node->graph != &graph) return CUDA_ERROR_INVALID_VALUE;
    if (std::ranges::find(out.nodes, nodes[i]) != out.nodes.end()) return CUDA_ERROR_INVALID_VALUE;
    out.nodes.push_back(nodes[i]);
    out.edges.push_back(data ? data[i] : CUgraphEdgeData{});
  }
  return CUDA_SUCCESS;
}

struct Beginning {
  std::shared_ptr<Graph> graph;  // null: one of the capture's own
  Dependencies behind;
};

// Locked.
CUresult begin(const FoundStream& stream, CUstreamCaptureMode mode, Beginning from) {
  static std::uint64_t last_id = 0;
  if (stream->kind() == Stream::Kind::legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  const bool existing = from.graph != nullptr;
  if (!existing) {
    from.graph = std::make_shared<Graph>();
    from.graph->owner = Graph::Owner::capture;
    publish(from.graph);
  }
  from.graph->captured_into = true;
  auto capture = std::make_shared<Capture>();
  capture->mode = mode;
  capture->thread = calling_thread();
  capture->id = ++last_id;
  capture->origin = stream.stream.get();
  capture->graph = std::move(from.graph);
  capture->into_existing = existing;
  capture->streams[stream.stream] = std::move(from.behind);
  stream->capture = capture;
  open_capture(capture);
  return CUDA_SUCCESS;
}

// Locked. What ending gives back, once the capture is closed.
CUresult finish(const std::shared_ptr<Capture>& capture, const std::shared_ptr<Stream>& origin, CUgraph& out) {
  const bool joined = is_joined(*capture, origin);
  close_capture(capture);
  CUresult result = CUDA_SUCCESS;
  if (capture->invalid)
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  else if (!joined)
    result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  if (result != CUDA_SUCCESS) {
    if (!capture->into_existing) withdraw(*capture->graph);
    return result;
  }
  if (!capture->into_existing) capture->graph->owner = Graph::Owner::program;
  out = handle_of(*capture->graph);
  return CUDA_SUCCESS;
}

}  // namespace

CUstreamCaptureMode thread_capture_mode() { return thread_mode; }
int calling_thread() { return static_cast<int>(::syscall(SYS_gettid)); }

namespace api {

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!is_mode(mode)) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(graph_mutex());
  return begin(stream, mode, {});
}

CUresult cuStreamBeginCapture(CUstream hStream) {
  return api::cuStreamBeginCapture_v2(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph, const CUgraphNode* dependencies,
                                     const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                     CUstreamCaptureMode mode) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const std::scoped_lock lock(graph_mutex());
  Beginning from{find_graph(hGraph), {}};
  if (!is_mode(mode) || !from.graph || from.graph->captured_into) return CUDA_ERROR_INVALID_VALUE;
  const CUresult failed = dependencies_in(*from.graph, dependencies, dependencyData, numDependencies, from.behind);
  return failed ? failed : begin(stream, mode, std::move(from));
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph* phGraph) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!phGraph) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(graph_mutex());
  const auto capture = stream->capture;
  *phGraph = nullptr;
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream.stream.get()) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != calling_thread())
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  return finish(capture, stream.stream, *phGraph);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                   const CUgraphNode** dependencies, const CUgraphEdgeData** edges,
                                   size_t* numDependencies) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!status || (edges && !dependencies)) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(graph_mutex());
  const auto& capture = stream->capture;
  if (!capture && implicitly_captured(*stream)) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  *status = CU_STREAM_CAPTURE_STATUS_NONE;
  if (!capture) return CUDA_SUCCESS;
  const Dependencies& behind = capture->streams.at(stream.stream);
  if (dependencies && !edges && !std::ranges::all_of(behind.edges, is_plain)) return CUDA_ERROR_LOSSY_QUERY;
  *status = capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (id) *id = capture->id;
  if (graph) *graph = handle_of(*capture->graph);
  if (dependencies) *dependencies = behind.nodes.data();
  if (edges) *edges = behind.edges.data();
  if (numDependencies) *numDependencies = behind.nodes.size();
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                   const CUgraphNode** dependencies, size_t* numDependencies) {
  return api::cuStreamGetCaptureInfo_v3(hStream, status, id, graph, dependencies, nullptr, numDependencies);
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id) {
  return api::cuStreamGetCaptureInfo_v3(hStream, status, id, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus* status) {
  return api::cuStreamGetCaptureInfo_v3(hStream, status, nullptr, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode* dependencies,
                                              const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                              unsigned flags) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(graph_mutex());
  const auto& capture = stream->capture;
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  Dependencies given;
  const CUresult failed = dependencies_in(*capture->graph, dependencies, dependencyData, numDependencies, given);
  if (failed) return failed;
  Dependencies& behind = capture->streams.at(stream.stream);
  if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) behind = {};
  add_dependencies(behind, given);
  return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode* dependencies, size_t numDependencies,
                                           unsigned flags) {
  return api::cuStreamUpdateCaptureDependencies_v2(hStream, dependencies, nullptr, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (!mode || !is_mode(*mode)) return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, thread_mode);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim

// Stream capture and graphs. What a capturing stream is given becomes a node instead of work. The nodes of a graph are
// kept and run in the order they were captured, whole graph by whole graph: one legal order of every graph that a
// capture can make. Nodes that a program adds by hand (cuGraphAdd*Node) are not supported.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "tests/driver/stream/stream.h"

namespace lull::sim {

struct Node {
  CUgraphNodeType type;
  Work work;
  After after;
};

struct Graph {
  std::vector<std::shared_ptr<Node>> nodes;
};

struct GraphExec {
  std::vector<std::shared_ptr<Node>> nodes;
};

struct Capture {
  CUstreamCaptureMode mode;
  int thread;  // that began it
  std::uint64_t id;
  Stream* origin;
  std::shared_ptr<Graph> graph;
  std::vector<CUgraphNode> last;  // what the next node would depend on, as CaptureInfo tells
  bool invalid = false;
};

// 900 if a capture forbids the calling thread what might disturb it; that capture is invalid from then on.
CUresult unsafe_during_capture();
// Any capture in the process at all: one load.
bool any_capture();
// Adds to the capture of a stream. True: it was capturing (or may not be used now), and `result` is the answer.
bool captured(Stream& stream, CUgraphNodeType type, const Work& work, After after, CUresult& result);
// A stream of the same context waits for an event recorded in a capture: it joins that capture.
CUresult join_capture(Stream& stream, const std::shared_ptr<Capture>& capture);
std::shared_ptr<Capture> capture_of(Stream& stream);
void drop_captures_of(Context& context);

}  // namespace lull::sim

// Stream capture. What a capturing stream is given becomes a node of a graph instead of work. Each stream that takes
// part has the set of nodes that its next node depends on; events carry such a set from stream to stream.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "tests/driver/stream/operation.h"

namespace lull::sim {

class Stream;
struct Graph;

// The nodes that the next one depends on, as parallel arrays: that is how the driver hands them out.
struct Dependencies {
  std::vector<CUgraphNode> nodes;
  std::vector<CUgraphEdgeData> edges;
};

struct Capture {
  CUstreamCaptureMode mode;
  int thread;  // that began it
  std::uint64_t id;
  Stream* origin;
  std::shared_ptr<Graph> graph;
  bool into_existing;                                       // cuStreamBeginCaptureToGraph: the graph is the program's
  std::map<std::shared_ptr<Stream>, Dependencies> streams;  // that take part
  bool invalid = false;
};

// 900 if a capture forbids the calling thread what might disturb it; that capture is invalid from then on.
CUresult unsafe_during_capture();
// 900 if this very stream is in a capture, which is invalid from then on: for what no stream in capture may do.
CUresult forbidden_in_capture(Stream& stream);
// Any capture in the process at all: one load.
bool any_capture();
// Adds to the capture of a stream. True: it was capturing (or may not be used now), and `result` is the answer.
bool captured(Stream& stream, const OperationPtr& work, CUresult& result);

// The capture that a stream is in, null if in none, with the stream's dependencies as they are now.
std::shared_ptr<Capture> capture_of(Stream& stream, Dependencies* dependencies = nullptr);
// A stream waits for an event that was recorded behind `dependencies` of a capture: it joins that capture.
CUresult join_capture(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Capture>& capture,
                      const Dependencies& dependencies);
// What was done breaks the rules of capture: all of it is invalid.
void invalidate(const std::shared_ptr<Capture>& capture);
void leave_captures(const std::shared_ptr<Stream>& stream);  // it is destroyed; what it began ends
void drop_captures_of(Context& context);

}  // namespace lull::sim

// Captures and graphs. A capture stays open for a while, so that whoever wants the memory meets it.
#include <chrono>
#include <thread>

#include "tests/random/actor.h"

namespace lull::random {
namespace {

// While one actor captures on a blocking stream nobody may use the legacy stream; beside others it is a stream apart.
Stream* stream_for_capture(Actor& actor, Dice& dice) {
  const std::uint64_t throw_ = dice.next();
  if (actor.streams.empty()) return nullptr;
  Stream& chosen = actor.streams[throw_ % actor.streams.size()];
  return actor.alone || !chosen.blocking ? &chosen : nullptr;
}

CUstreamCaptureMode some_mode(const Actor& actor, Dice& dice) {
  const auto mode = static_cast<CUstreamCaptureMode>(dice.below(3));
  return actor.alone || mode != CU_STREAM_CAPTURE_MODE_GLOBAL ? mode : CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
}

void stay(Dice& dice) { std::this_thread::sleep_for(std::chrono::microseconds(dice.below(1500))); }

void launch(Actor& actor, CUgraph graph, const Stream& stream, std::uint64_t times) {
  CUgraphExec exec = nullptr;
  const CUresult made = cuGraphInstantiateWithFlags(&exec, graph, 0);
  CUresult launched = made;
  for (std::uint64_t i = 0; i < times && !launched; ++i) launched = cuGraphLaunch(exec, stream.handle);
  const CUresult finished = cuStreamSynchronize(stream.handle);
  actor.say("instantiate -> {}, {} launches -> {} {}, destroy -> {}", int(made), times, int(launched), int(finished),
            made ? 0 : int(cuGraphExecDestroy(exec)));
}

void capture(Actor& actor, Dice& dice) {
  Stream* stream = stream_for_capture(actor, dice);
  const CUstreamCaptureMode mode = some_mode(actor, dice);
  const std::uint64_t pieces = dice.between(0, 6), launches = dice.between(1, 3);
  if (!stream) return;
  (void)cuCtxSynchronize();
  for (Buffer& buffer : actor.buffers) buffer.last = stream->handle;
  const CUresult begun = cuStreamBeginCapture_v2(stream->handle, mode);
  CUstreamCaptureStatus status{};
  const CUresult asked = cuStreamIsCapturing(stream->handle, &status);
  actor.say("s{} mode {} -> {}, status {} {}", stream->number, int(mode), int(begun), int(asked), int(status));
  actor.capturing = true;
  for (std::uint64_t i = 0; i < pieces; ++i) {
    some_work(actor, dice, stream->handle);
    stay(dice);
  }
  actor.capturing = false;
  CUgraph graph = nullptr;
  const CUresult ended = cuStreamEndCapture(stream->handle, &graph);
  std::size_t nodes = 0;
  const CUresult counted = graph ? cuGraphGetNodes(graph, nullptr, &nodes) : CUDA_SUCCESS;
  actor.say("end -> {}, {} {} nodes", int(ended), int(counted), nodes);
  if (ended) return;
  launch(actor, graph, *stream, launches);
  actor.say("destroy -> {}", int(cuGraphDestroy(graph)));
}

// What must not be done while a capture is open, and what it leaves of the capture.
void spoiled_capture(Actor& actor, Dice& dice) {
  Stream* stream = stream_for_capture(actor, dice);
  const CUstreamCaptureMode mode = some_mode(actor, dice);
  const std::uint64_t way = dice.below(5);
  if (!stream) return;
  (void)cuCtxSynchronize();
  const CUresult begun = cuStreamBeginCapture_v2(stream->handle, mode);
  CUresult done = CUDA_SUCCESS;
  CUdeviceptr at = 0;
  switch (way) {
    case 0: done = cuStreamSynchronize(stream->handle); break;
    case 1: done = cuStreamQuery(stream->handle); break;
    case 2: done = cuMemAlloc_v2(&at, 4096); break;
    case 3: done = cuStreamBeginCapture_v2(stream->handle, mode); break;
    default: done = cuMemAlloc_v2(&at, 3 * granule); stay(dice);
  }
  CUgraph graph = nullptr;
  const CUresult ended = cuStreamEndCapture(stream->handle, &graph);
  actor.say("s{} mode {} -> {}, way {} -> {}, end -> {}", stream->number, int(mode), int(begun), way, int(done),
            int(ended));
  if (graph) actor.say("destroy -> {}", int(cuGraphDestroy(graph)));
  if (at) actor.say("free -> {}", int(cuMemFree_v2(at)));
}

void end_of_nothing(Actor& actor, Dice&) {
  CUgraph graph = nullptr;
  if (actor.streams.empty()) return;
  actor.say("-> {}", int(cuStreamEndCapture(actor.streams[0].handle, &graph)));
  CUstreamCaptureStatus status{};
  const CUresult asked = cuStreamIsCapturing(actor.streams[0].handle, &status);
  actor.say("status -> {} {}", int(asked), int(status));
}

void swap_mode(Actor& actor, Dice& dice) {
  auto mode = static_cast<CUstreamCaptureMode>(dice.below(3));
  const CUresult there = cuThreadExchangeStreamCaptureMode(&mode);
  const auto before = int(mode);
  const CUresult back = cuThreadExchangeStreamCaptureMode(&mode);
  actor.say("-> {} {}, was {}", int(there), int(back), before);
}

}  // namespace

const std::vector<Operation> graph_operations = {{"capture", 10, capture},
                                                 {"spoiled capture", 2, spoiled_capture},
                                                 {"cuStreamEndCapture", 1, end_of_nothing},
                                                 {"cuThreadExchangeStreamCaptureMode", 1, swap_mode}};

}  // namespace lull::random

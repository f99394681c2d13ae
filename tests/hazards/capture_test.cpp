// Hazard 4: nothing that the mover does reaches into a capture of the program.
#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

struct Capture {
  CUstream stream = nullptr;
  CUdeviceptr memory = 0;
  Capture() {
    (void)context();
    OK(cuMemAlloc_v2(&memory, 4096));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuMemsetD8Async(memory, 1, 64, stream));
  }
  void end() {
    OK(cuMemsetD8Async(memory, 2, 64, stream));
    CUgraph graph = nullptr;
    demand(cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS, "the capture is valid at its end");
    std::size_t nodes = 0;
    OK(cuGraphGetNodes(graph, nullptr, &nodes));
    demand(nodes == 2, "the capture holds what the program put into it");
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(stream));
    OK(cuMemFree_v2(memory));
  }
};

}  // namespace

TEST_CASE("hazard 4: a capture puts the drain off until it has ended") {
  Capture capture;
  broker().gate(GateState::closed);
  // One that has ended already was seen beginning, too.
  demand(comes_true([] { return broker().reached(Phase::draining) || broker().reached(Phase::drained); }),
         "the drain begins");
  demand(!comes_true([] { return broker().phase().phase == Phase::drained; }, 1),
         "nothing is drained while a capture is open");
  capture.end();
  demand(broker().reaches(Phase::drained), "the drain ends after the capture");
  broker().gate(GateState::open);
}

TEST_CASE("hazard 4: what the mover must do beside a global capture does not invalidate it") {
  Capture capture;
  const std::size_t registered = calls("cuMemHostRegister_v2", false);
  broker().give_backing(16 * mib);
  demand(comes_true([&] { return calls("cuMemHostRegister_v2", false) > registered; }),
         "the mover registers host memory");
  capture.end();
}

}  // namespace lull::hazards

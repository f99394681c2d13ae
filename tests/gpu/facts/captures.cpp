// Stream captures against calls of another thread, as the shim's mover makes them.
#include <fmt/format.h>

#include <functional>
#include <optional>
#include <thread>

#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

struct Call {
  const char* name;
  std::function<CUresult()> make;
};

// What the call answered, and whether the capture that was open meanwhile could be ended.
json during_capture(const Card& card, const Spinner& spinner, CUstreamCaptureMode mode, CUstreamCaptureMode mover,
                    const Call& call) {
  const auto stream = make_stream();
  OK(cuStreamBeginCapture, stream, mode);
  spinner.submit_empty(stream);
  CUresult answer = CUDA_ERROR_UNKNOWN;
  std::thread other([&] {
    if (CU(cuCtxSetCurrent)(card.context) != CUDA_SUCCESS) return;
    CUstreamCaptureMode own = mover;
    if (CU(cuThreadExchangeStreamCaptureMode)(&own) != CUDA_SUCCESS) return;
    answer = call.make();
  });
  other.join();
  CUgraph graph = nullptr;
  const CUresult ended = CU(cuStreamEndCapture)(stream, &graph);
  if (ended == CUDA_SUCCESS && graph) OK(cuGraphDestroy, graph);
  OK(cuStreamDestroy, stream);
  return {{"answer", name_of(answer)}, {"capture", name_of(ended)}};
}

}  // namespace

FACT(captures, "E5", "Which calls of another thread break an open capture?") {
  const Card card;
  const Spinner spinner;
  const auto own = make_stream();
  const auto properties = on_card(card);
  const auto access = writable(card);
  CUevent event = nullptr;
  OK(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
  CUdeviceptr at = 0, there = 0;
  OK(cuMemAddressReserve, &at, card.granularity, 0, 0, 0);
  OK(cuMemAlloc, &there, card.granularity);
  void* here = nullptr;
  OK(cuMemHostAlloc, &here, card.granularity, 0);
  CUmemGenericAllocationHandle handle = 0;
  const Call calls[] = {
      {"cuCtxSynchronize", [] { return CU(cuCtxSynchronize)(); }},
      {"cuStreamSynchronize", [&] { return CU(cuStreamSynchronize)(own); }},
      {"cuEventRecord", [&] { return CU(cuEventRecord)(event, own); }},
      {"cuEventQuery", [&] { return CU(cuEventQuery)(event); }},
      {"cuMemcpyDtoHAsync", [&] { return CU(cuMemcpyDtoHAsync)(here, there, card.granularity, own); }},
      {"cuMemCreate", [&] { return CU(cuMemCreate)(&handle, card.granularity, &properties, 0); }},
      {"cuMemMap", [&] { return CU(cuMemMap)(at, card.granularity, 0, handle, 0); }},
      {"cuMemSetAccess", [&] { return CU(cuMemSetAccess)(at, card.granularity, &access, 1); }},
      {"cuMemUnmap", [&] { return CU(cuMemUnmap)(at, card.granularity); }},
      {"cuMemRelease", [&] { return CU(cuMemRelease)(handle); }},
      {"cuMemGetInfo",
       [] {
         std::size_t free = 0, total = 0;
         return CU(cuMemGetInfo)(&free, &total);
       }},
      {"cuMemAlloc", [&] {
         CUdeviceptr more = 0;
         const CUresult result = CU(cuMemAlloc)(&more, 1 << 20);
         if (result == CUDA_SUCCESS) (void)CU(cuMemFree)(more);
         return result;
       }}};
  struct Mode {
    const char* name;
    CUstreamCaptureMode mode;
  };
  const Mode modes[] = {{"global", CU_STREAM_CAPTURE_MODE_GLOBAL},
                        {"thread_local", CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
                        {"relaxed", CU_STREAM_CAPTURE_MODE_RELAXED}};
  std::string broken;
  for (const Mode& capture : modes)
    for (const Mode& mover : {modes[0], modes[2]})
      for (const Call& call : calls) {
        const auto row = during_capture(card, spinner, capture.mode, mover.mode, call);
        if (row["answer"] != "CUDA_SUCCESS") (void)call.make();  // the next ones build upon what it does
        fact.figures[capture.name][std::string("mover_") + mover.name][call.name] = row;
        if (mover.mode == CU_STREAM_CAPTURE_MODE_RELAXED && row["capture"] != "CUDA_SUCCESS")
          broken += fmt::format("{}{} ({})", broken.empty() ? "" : ", ", call.name, capture.name);
      }
  fact.sentence = broken.empty() ? "none of those that the mover makes, if its thread is relaxed"
                                 : "although the mover's thread is relaxed: " + broken;
}

}  // namespace lull::facts

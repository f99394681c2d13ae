#include <ctime>

#include "shim/clock.h"
#include "shim/drain.h"
#include "shim/flight.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/process.h"

namespace lull::stream {
namespace {

// Blocking streams are ordered against the legacy stream, whose event covers them.
CUresult noted(CUresult result, const CUstream* stream, unsigned flags) {
  if (result == CUDA_SUCCESS && (flags & CU_STREAM_NON_BLOCKING) && process::activate()) process::note_stream(*stream);
  return result;
}

}  // namespace

CUresult create(CUstream* stream, unsigned flags) { return noted(real::cuStreamCreate(stream, flags), stream, flags); }

CUresult create_with_priority(CUstream* stream, unsigned flags, int priority) {
  return noted(real::cuStreamCreateWithPriority(stream, flags, priority), stream, flags);
}

CUresult green_create(CUstream* stream, CUgreenCtx context, unsigned flags, int priority) {
  return noted(real::cuGreenCtxStreamCreate(stream, context, flags, priority), stream, flags);
}

// First out of our books, so that no drain puts an event on a stream that is going.
CUresult destroy(CUstream stream) {
  if (!gate::active_now()) return real::cuStreamDestroy_v2(stream);
  const SignalsBlocked together;  // as with captures
  process::forget_stream(stream);
  flight::forget_stream(stream);
  const bool was_capturing = capture::capturing(stream);
  const CUresult result = real::cuStreamDestroy_v2(stream);
  if (result == CUDA_SUCCESS && was_capturing) capture::ended();  // a capture goes with its stream
  return result;
}

// "Not ready" may be the drain's doing: its event passes in microseconds if nothing else is there, and is waited for a
// little. What is then still busy is the program's own.
CUresult query(CUstream stream) {
  CUresult result = real::cuStreamQuery(stream);
  const std::uint64_t enough = drain::marking() ? monotonic_ns() + 2'000'000 : 0;
  while (result == CUDA_ERROR_NOT_READY && drain::marking() && monotonic_ns() < enough) {
    const timespec pause{0, 10'000};
    (void)::nanosleep(&pause, nullptr);
    result = real::cuStreamQuery(stream);
  }
  return result;
}

}  // namespace lull::stream

namespace lull::capture {

void began() {
  if (!gate::active_now()) return;
  const Locked locked(process::lanes_mutex());
  process::capture_began();
}

CUresult begun(CUresult result) {
  if (result != CUDA_SUCCESS && gate::active_now()) process::capture_ended();
  return result;
}

bool capturing(CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return process::captures_open() > 0 && real::cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS &&
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

void ended() {
  if (gate::active_now()) process::capture_ended();
}

}  // namespace lull::capture

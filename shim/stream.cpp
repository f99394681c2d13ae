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
  if (gate::active_now()) process::forget_stream(stream);
  return real::cuStreamDestroy_v2(stream);
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

void ended() {
  if (gate::active_now()) process::capture_ended();
}

}  // namespace lull::capture

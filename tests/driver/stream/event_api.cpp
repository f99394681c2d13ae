// The event functions of the driver.
#include <cmath>

#include "tests/driver/card/settings.h"
#include "tests/driver/context/context.h"
#include "tests/driver/memory/pool.h"
#include "tests/driver/registry.h"
#include "tests/driver/stream/event.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct State {
  std::shared_ptr<Mark> mark;
  std::shared_ptr<Capture> captured_in;
  Dependencies captured_at;
};
State state_of(Event& event) {
  const std::scoped_lock lock(event.mutex);
  return {latest_mark(event), event.captured_in, event.captured_at};
}

// It stands for nodes, not for work that could be over: asking makes its capture invalid.
CUresult captured_event(const State& state) {
  invalidate(state.captured_in);
  return CUDA_ERROR_CAPTURED_EVENT;
}

std::shared_ptr<Life> life_of(const Stream& stream) {
  const auto context = stream.context();
  return context ? context->life() : nullptr;
}

}  // namespace

namespace api {

CUresult cuEventCreate(CUevent* phEvent, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  constexpr unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
  if (!phEvent || (flags & ~known)) return CUDA_ERROR_INVALID_VALUE;
  const bool interprocess = flags & CU_EVENT_INTERPROCESS;
  if (interprocess && !(flags & CU_EVENT_DISABLE_TIMING)) return CUDA_ERROR_INVALID_VALUE;
  auto event = std::make_shared<Event>();
  event->flags = flags;
  event->context = context.context;
  event->device = &context->device();
  if (interprocess) {
    event->shared = event->device->card->make_event();
    if (!event->shared) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *phEvent = reinterpret_cast<CUevent>(registry<Event>().add(std::move(event)));
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent hEvent) {
  return registry<Event>().remove(hEvent) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned flags) {
  const auto event = registry<Event>().find(hEvent);
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!event || event->context.lock() != stream->context()) return CUDA_ERROR_INVALID_HANDLE;
  if (flags & ~static_cast<unsigned>(CU_EVENT_RECORD_EXTERNAL)) return CUDA_ERROR_INVALID_VALUE;
  Dependencies behind;
  if (auto capture = capture_of(*stream, &behind)) {
    if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (flags & CU_EVENT_RECORD_EXTERNAL) return submit(*stream, std::make_shared<RecordOperation>(event, nullptr));
    const std::scoped_lock lock(event->mutex);
    event->captured_in = std::move(capture);
    event->captured_at = std::move(behind);
    return CUDA_SUCCESS;
  }
  if (flags & CU_EVENT_RECORD_EXTERNAL) return CUDA_ERROR_INVALID_VALUE;  // means something in a capture only
  auto life = life_of(*stream);
  if (!life) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  stream->wait_for_room();  // not below: who asks for the event's state waits for its mutex
  // Held over the submission: two threads that record one event leave the later mark in it.
  const std::scoped_lock lock(event->mutex);
  auto mark = new_mark(*event, std::move(life));
  if (const CUresult failed = submit(*stream, std::make_shared<RecordOperation>(event, mark))) return failed;
  event->mark = std::move(mark);
  event->captured_in.reset();
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream) { return api::cuEventRecordWithFlags(hEvent, hStream, 0); }

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned flags) {
  const auto event = registry<Event>().find(hEvent);
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  if (flags & ~static_cast<unsigned>(CU_EVENT_WAIT_EXTERNAL)) return CUDA_ERROR_INVALID_VALUE;
  const auto capture = capture_of(*stream);
  if (flags & CU_EVENT_WAIT_EXTERNAL) {
    if (!capture) return CUDA_ERROR_INVALID_VALUE;
    return submit(*stream, std::make_shared<AwaitOperation>(event, nullptr));
  }
  const State state = state_of(*event);
  if (state.captured_in) return join_capture(stream.stream, state.captured_in, state.captured_at);
  if (capture) {  // what was recorded outside may not be waited for inside
    invalidate(capture);
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (!state.mark) return CUDA_SUCCESS;  // never recorded: nothing to wait for
  return submit(*stream, std::make_shared<AwaitOperation>(event, state.mark));
}

CUresult cuEventQuery(CUevent hEvent) {
  const auto event = registry<Event>().find(hEvent);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  const State state = state_of(*event);
  if (state.captured_in) return captured_event(state);
  if (!state.mark) return CUDA_SUCCESS;
  return state.mark->reached() ? state.mark->life().sticky() : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent hEvent) {
  const auto event = registry<Event>().find(hEvent);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  const State state = state_of(*event);
  if (state.captured_in) return captured_event(state);
  if (!state.mark) return CUDA_SUCCESS;
  state.mark->wait(state.mark->life());
  trim_pools_at_synchronisation();
  return state.mark->life().sticky();
}

CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent hStart, CUevent hEnd) {
  const auto start = registry<Event>().find(hStart), end = registry<Event>().find(hEnd);
  if (!milliseconds) return CUDA_ERROR_INVALID_VALUE;
  if (!start || !end || ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING)) return CUDA_ERROR_INVALID_HANDLE;
  const auto from = state_of(*start).mark, to = state_of(*end).mark;
  if (!from || !to) return CUDA_ERROR_INVALID_HANDLE;
  if (!from->reached() || !to->reached()) return CUDA_ERROR_NOT_READY;
  const auto difference_ns = static_cast<std::int64_t>(to->time_ns() - from->time_ns());
  *milliseconds = static_cast<float>(static_cast<double>(difference_ns) / settings().card.time_scale / 1e6);
  return CUDA_SUCCESS;
}

CUresult cuCtxRecordEvent(CUcontext hCtx, CUevent hEvent) {
  const auto context = registry<Context>().find(hCtx);
  const auto event = registry<Event>().find(hEvent);
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  if (!event || event->context.lock() != context) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult error = context->error()) return error;
  for (const auto& stream : context->streams()) {
    if (capture_of(*stream)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return context->record(event);
}

CUresult cuCtxWaitEvent(CUcontext hCtx, CUevent hEvent) {
  const auto context = registry<Context>().find(hCtx);
  const auto event = registry<Event>().find(hEvent);
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult error = context->error()) return error;
  const State state = state_of(*event);
  if (state.captured_in) return captured_event(state);
  for (const auto& stream : context->streams()) {
    if (capture_of(*stream)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return state.mark ? context->await(std::make_shared<AwaitOperation>(event, state.mark)) : CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim

// The stream functions of the driver, and how work gets its place among the work of other streams.
#include <algorithm>
#include <iterator>

#include "tests/driver/context/context.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"
#include "tests/driver/surface/entry.h"

namespace lull::sim {
namespace {

// What work on this stream comes after, besides the stream's own. Under context.order.
std::vector<Ticket> tickets(Context& context, const Stream& stream) {
  std::vector<Ticket> after;
  const bool legacy = stream.kind() == Stream::Kind::legacy;
  for (auto& other : context.streams()) {
    const bool ordered = legacy ? other->kind() == Stream::Kind::blocking || other->kind() == Stream::Kind::per_thread
                                : other->kind() == Stream::Kind::legacy;
    if (ordered && !other->idle()) after.push_back({other, other->submitted()});
  }
  return after;
}

}  // namespace

CUresult HostOperation::run(Running&) const {
  enter_callback(true);
  parameters_.fn(parameters_.userData);
  enter_callback(false);
  return CUDA_SUCCESS;
}

CUresult submit(Stream& stream, OperationPtr work, std::vector<Ticket> also, Ticket* placed) {
  if (const CUresult sticky = stream.life().sticky()) return sticky;
  CUresult result = CUDA_SUCCESS;
  if (captured(stream, work, result)) return result;
  const auto context = stream.context();
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  stream.wait_for_room();
  Ticket ticket;
  if (stream.kind() == Stream::Kind::non_blocking) {
    ticket = stream.push(std::move(work), std::move(also));
  } else {
    const std::scoped_lock lock(context->order);
    std::ranges::move(tickets(*context, stream), std::back_inserter(also));
    ticket = stream.push(std::move(work), std::move(also));
  }
  // Another thread destroyed the stream, or its context, since the handle was found.
  if (!ticket.stream) return context->active() ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (placed) *placed = std::move(ticket);
  return CUDA_SUCCESS;
}

CUresult submit(Stream& stream, CUgraphNodeType type, Work work, After after) {
  return submit(stream, std::make_shared<PlainWork>(type, std::move(work), after));
}

namespace api {

CUresult cuStreamCreateWithPriority(CUstream* phStream, unsigned flags, int priority) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!phStream || (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING))) return CUDA_ERROR_INVALID_VALUE;
  const auto kind = flags & CU_STREAM_NON_BLOCKING ? Stream::Kind::non_blocking : Stream::Kind::blocking;
  *phStream = handle_of(context->create_stream(kind, std::clamp(priority, -5, 0)).get());
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* phStream, unsigned flags) {
  return api::cuStreamCreateWithPriority(phStream, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream hStream) {
  // Work already queued is done; only then does the stream's thread end.
  const auto stream = registry<Stream>().remove(hStream);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  leave_captures(stream);
  if (const auto context = stream->context()) context->forget(stream);
  stream->close();
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (const CUresult refused = forbidden_in_capture(*stream)) return refused;
  return synchronize(*stream);
}

CUresult cuStreamQuery(CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (const CUresult refused = forbidden_in_capture(*stream)) return refused;
  return has_pending(*stream) ? CUDA_ERROR_NOT_READY : stream->life().sticky();
}

CUresult cuStreamGetPriority(CUstream hStream, int* priority) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!priority) return CUDA_ERROR_INVALID_VALUE;
  *priority = stream->priority();
  return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned* flags) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!flags) return CUDA_ERROR_INVALID_VALUE;
  *flags = stream->kind() == Stream::Kind::non_blocking ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long* id) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!id) return CUDA_ERROR_INVALID_VALUE;
  *id = stream->number();
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext* pctx) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!pctx) return CUDA_ERROR_INVALID_VALUE;
  *pctx = handle_of(stream->context().get());
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext* pctx, CUgreenCtx* green) {
  if (green) *green = nullptr;
  return api::cuStreamGetCtx(hStream, pctx);
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice* device) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const auto context = stream->context();
  if (!device || !context) return CUDA_ERROR_INVALID_VALUE;
  *device = context->device().ordinal;
  return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void* userData) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!fn) return CUDA_ERROR_INVALID_VALUE;
  return submit(*stream, std::make_shared<HostOperation>(CUDA_HOST_NODE_PARAMS{fn, userData}));
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void* userData, unsigned flags) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!callback || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = forbidden_in_capture(*stream)) return refused;
  // Unlike a host function it is called after an error too, and told of it.
  return submit(
      *stream, CU_GRAPH_NODE_TYPE_HOST,
      [hStream, callback, userData](Running& running) {
        enter_callback(true);
        callback(hStream, running.life.sticky(), userData);
        enter_callback(false);
        return CUDA_SUCCESS;
      },
      After::error_too);
}

}  // namespace api
}  // namespace lull::sim

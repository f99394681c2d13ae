// Streams, events, host functions and memory operations.
#include <atomic>

#include "tests/random/actor.h"

namespace lull::random {
namespace {

void create_stream(Actor& actor, Dice& dice) {
  const unsigned flags = dice.one_in(2) ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT;
  const int priority = dice.one_in(3) ? -1 : 0;
  if (actor.streams.size() >= 6) return;
  CUstream stream = nullptr;
  const CUresult result = cuStreamCreateWithPriority(&stream, flags, priority);
  unsigned told = 99;
  int told_priority = 99;
  const CUresult asked = result ? result : cuStreamGetFlags(stream, &told);
  const CUresult asked_priority = result ? result : cuStreamGetPriority(stream, &told_priority);
  CUcontext context = nullptr;
  const CUresult of_context = result ? result : cuStreamGetCtx(stream, &context);
  actor.say("flags {} priority {} -> {}; {} {}, {} {}, context {} {}", flags, priority, int(result), int(asked), told,
            int(asked_priority), told_priority, int(of_context), context == actor.context);
  if (!result) actor.streams.push_back({actor.next_number(), stream, flags == CU_STREAM_DEFAULT});
}

void destroy_stream(Actor& actor, Dice& dice) {
  const std::uint64_t throw_ = dice.next();
  const bool waited = dice.one_in(2);
  if (actor.streams.empty()) return;
  const auto chosen = actor.streams.begin() + static_cast<long>(throw_ % actor.streams.size());
  const Stream stream = *chosen;
  actor.streams.erase(chosen);
  bool used = false;
  for (Buffer& buffer : actor.buffers) used = used || buffer.last == stream.handle;
  // A stream may go while it works; what it was given is then waited for by the context.
  if (waited || !used) actor.say("s{} synchronise -> {}", stream.number, int(cuStreamSynchronize(stream.handle)));
  actor.say("s{} -> {}", stream.number, int(cuStreamDestroy_v2(stream.handle)));
  if (used) actor.say("context -> {}", int(cuCtxSynchronize()));
  for (Buffer& buffer : actor.buffers) {
    if (buffer.last == stream.handle) buffer.last = nullptr;
  }
}

void synchronise(Actor& actor, Dice& dice) {
  unsigned number = 0;
  CUstream stream = actor.some_stream(dice, &number);
  const CUresult result = cuStreamSynchronize(stream);
  // With others at work on the legacy stream a query may say "not ready"; a stream of our own is idle now.
  const bool own = number != 0;
  actor.say("s{} -> {}, query {}", number, int(result), own ? int(cuStreamQuery(stream)) : 0);
}

void synchronise_context(Actor& actor, Dice&) { actor.say("-> {}", int(cuCtxSynchronize())); }

void create_event(Actor& actor, Dice& dice) {
  const unsigned flags =
      dice.one_in(2) ? CU_EVENT_DISABLE_TIMING : (dice.one_in(2) ? CU_EVENT_BLOCKING_SYNC : CU_EVENT_DEFAULT);
  if (actor.events.size() >= 8) return;
  CUevent event = nullptr;
  const CUresult result = cuEventCreate(&event, flags);
  actor.say("flags {} -> {}, query {}", flags, int(result), result ? 0 : int(cuEventQuery(event)));
  if (!result) actor.events.push_back({actor.next_number(), event, false});
}

Event* some_event(Actor& actor, Dice& dice) {
  const std::uint64_t throw_ = dice.next();
  return actor.events.empty() ? nullptr : &actor.events[throw_ % actor.events.size()];
}

void destroy_event(Actor& actor, Dice& dice) {
  Event* event = some_event(actor, dice);
  if (!event) return;
  actor.say("e{} -> {}", event->number, int(cuEventDestroy_v2(event->handle)));
  actor.events.erase(actor.events.begin() + (event - actor.events.data()));
}

// Work in one stream, and in another what must come after it.
void order(Actor& actor, Dice& dice) {
  Event* event = some_event(actor, dice);
  unsigned first = 0, second = 0;
  CUstream before = actor.some_stream(dice, &first);
  CUstream after = actor.some_stream(dice, &second);
  Buffer* buffer = actor.some_buffer(dice);
  const auto value = static_cast<unsigned>(dice.next());
  if (!event || !buffer) return;
  actor.bring(*buffer, before);
  const CUresult set = cuMemsetD32Async(buffer->at, value, buffer->bytes / 4, before);
  const CUresult recorded = cuEventRecord(event->handle, before);
  event->recorded = true;
  const CUresult waited = cuStreamWaitEvent(after, event->handle, 0);
  const CUresult again = cuMemsetD32Async(buffer->at, value + 1, 1, after);
  buffer->last = after;
  actor.say("b{} in s{}, e{} {}, then s{}: {} {} {}, {:016x}", buffer->number, first, event->number, int(recorded),
            second, int(set), int(waited), int(again), actor.contents(*buffer));
}

void record(Actor& actor, Dice& dice) {
  Event* event = some_event(actor, dice);
  Event* other = some_event(actor, dice);
  CUstream stream = actor.some_stream(dice);
  if (!event) return;
  const CUresult recorded = cuEventRecord(event->handle, stream);
  event->recorded = true;
  const CUresult waited = cuEventSynchronize(event->handle);
  actor.say("e{} -> {} {}, query {}", event->number, int(recorded), int(waited), int(cuEventQuery(event->handle)));
  if (!other->recorded) return;
  (void)cuEventSynchronize(other->handle);
  float milliseconds = -1;
  const CUresult between = cuEventElapsedTime_v2(&milliseconds, event->handle, event->handle);
  actor.say("elapsed -> {}, none {}; to e{} -> {}", int(between), milliseconds == 0, other->number,
            int(cuEventElapsedTime_v2(&milliseconds, event->handle, other->handle)));
}

void host_function(Actor& actor, Dice& dice) {
  CUstream stream = actor.some_stream(dice);
  const unsigned times = static_cast<unsigned>(dice.between(1, 5));
  std::atomic<unsigned> count{0};
  CUresult result = CUDA_SUCCESS;
  for (unsigned i = 0; i < times && !result; ++i) {
    result = cuLaunchHostFunc(
        stream, [](void* at) { ++*static_cast<std::atomic<unsigned>*>(at); }, &count);
  }
  const CUresult finished = cuStreamSynchronize(stream);
  actor.say("{} times -> {} {}, ran {}", times, int(result), int(finished), count.load());
}

// One stream waits for a word that another writes, or that was written before. Between the two another thread may use
// the legacy stream: that waits for a blocking stream that waits, and the write would wait for it.
void wait_value(Actor& actor, Dice& dice) {
  Buffer* word = actor.some_buffer(dice);
  const auto value = static_cast<unsigned>(dice.next());
  const bool wanted_in_another = dice.one_in(2);
  if (!word || word->origin == Origin::managed || actor.streams.size() < 2) return;
  const bool in_another = wanted_in_another && (actor.alone || !actor.streams[1].blocking);
  CUstream writer = actor.streams[0].handle, waiter = actor.streams[1].handle;
  actor.bring(*word, writer);
  CUresult written, waited;
  if (in_another) {
    waited = cuStreamWaitValue32_v2(waiter, word->at, value, CU_STREAM_WAIT_VALUE_EQ);
    written = cuStreamWriteValue32_v2(writer, word->at, value, 0);
  } else {
    written = cuStreamWriteValue32_v2(writer, word->at, value, 0);
    waited = cuStreamWaitValue32_v2(writer, word->at, value, CU_STREAM_WAIT_VALUE_EQ);
  }
  const CUresult first = cuStreamSynchronize(writer), second = cuStreamSynchronize(waiter);
  actor.say("b{} -> {} {}, {} {}", word->number, int(written), int(waited), int(first), int(second));
}

}  // namespace

const std::vector<Operation> stream_operations = {
    {"cuStreamCreate", 5, create_stream},
    {"cuStreamDestroy", 2, destroy_stream},
    {"cuStreamSynchronize", 4, synchronise},
    {"cuCtxSynchronize", 2, synchronise_context},
    {"cuEventCreate", 4, create_event},
    {"cuEventDestroy", 1, destroy_event},
    {"order", 5, order},
    {"cuEventRecord", 4, record},
    {"cuLaunchHostFunc", 3, host_function},
    {"cuStreamWaitValue32", 3, wait_value},
};

}  // namespace lull::random

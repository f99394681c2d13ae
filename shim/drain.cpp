#include "shim/drain.h"

#include <ctime>

#include "shim/clock.h"
#include "shim/engine.h"
#include "shim/gate.h"
#include "shim/log.h"
#include "shim/mover.h"
#include "shim/process.h"
#include "shim/protection.h"

namespace lull::drain {
namespace {

// Events are made once and used again for every drain.
struct Marker {
  CUcontext context;
  CUevent event;
  bool pending;
};
Vector<Marker> markers;
std::atomic<bool> marking_now{false};

class Attempt {
 public:
  Attempt(unsigned slot, std::uint64_t word, std::uint64_t deadline) : slot_(slot), word_(word), deadline_(deadline) {}

  // Asks `done` again and again. Gives up on time or when the gate has changed.
  template <class Done>
  bool until(Overdue reason, Done done) {
    for (unsigned round = 0; !done(); ++round) {
      if (mover::wanted_to_rest()) return fail(Outcome::gate_changed, Overdue::none);
      if (process::down().gpu[slot_].gate.load(std::memory_order_acquire) != word_)
        return fail(Outcome::gate_changed, Overdue::none);
      if (on(Protection::drain_deadline) && monotonic_ns() > deadline_) return fail(Outcome::overdue, reason);
      const timespec pause{0, round < 20 ? 20'000 : 200'000};
      (void)::nanosleep(&pause, nullptr);
    }
    return true;
  }
  Result result() const { return result_; }

 private:
  bool fail(Outcome outcome, Overdue reason) {
    result_ = {outcome, reason};
    return false;
  }
  unsigned slot_;
  std::uint64_t word_, deadline_;
  Result result_{Outcome::drained, Overdue::none};
};

CUevent free_event(CUcontext context) {
  for (Marker& marker : markers)
    if (!marker.pending && marker.context == context) {
      marker.pending = true;
      return marker.event;
    }
  CUevent event = nullptr;
  if (real::cuEventCreate(&event, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) return nullptr;
  return markers.push({context, event, true}) ? event : nullptr;
}

// It has not been recorded.
void forget(CUevent event) {
  for (Marker& marker : markers)
    if (marker.event == event) marker.pending = false;
}

// One event behind everything of each context. Where the driver has no such event (before CUDA 12.5) it is one on the
// legacy stream, and that one stands in front of what blocking streams are given later: a stream that waits for such
// work then waits for ever. The lock keeps captures from beginning meanwhile. False: one had begun already, and an
// event would have fallen into it.
bool mark_all() {
  for (Marker& marker : markers) marker.pending = false;
  const Locked locked(process::lanes_mutex());
  if (on(Protection::capture_count) && process::captures_open() > 0) return false;
  for (const process::Lane& lane : process::lanes(locked)) {
    const Current current(lane.context);
    if (lane.stream || !current) continue;
    const CUevent event = free_event(lane.context);
    if (event && real::cuCtxRecordEvent(lane.context, event) != CUDA_SUCCESS)
      (void)real::cuEventRecord(event, nullptr);  // a stream that cannot be marked: the synchronise covers it
  }
  return true;
}

bool no_capture() { return process::captures_open() == 0; }

// The others are asked, since an event of ours would be work that the program's own query of its stream could meet.
// The lock keeps them from being destroyed meanwhile.
bool other_streams_idle() {
  const Locked locked(process::lanes_mutex());
  if (on(Protection::capture_count) && !no_capture()) return false;  // to ask a stream that captures would spoil it
  for (const process::Lane& lane : process::lanes(locked)) {
    const Current current(lane.context);
    if (lane.stream && current && real::cuStreamQuery(lane.stream) == CUDA_ERROR_NOT_READY) return false;
  }
  return true;
}

bool marks_passed() {
  for (Marker& marker : markers) {
    if (!marker.pending) continue;
    const Current current(marker.context);
    if (current && real::cuEventQuery(marker.event) == CUDA_ERROR_NOT_READY) return false;
    marker.pending = false;  // passed, or failed with an error the program will meet itself
  }
  return true;
}

// Once more, with all known streams idle, for work on streams that nobody told us of. A driver without events of
// contexts is waited for, as long as it takes. Without the lock: no context goes meanwhile, the mover works.
void mark_contexts(unsigned slot) {
  CUcontext contexts[16];
  std::size_t count = 0;
  {
    const Locked locked(process::lanes_mutex());
    if (process::captures_open() > 0) return;
    for (const process::Lane& lane : process::lanes(locked))
      if (!lane.stream && lane.slot == slot && count < 16) contexts[count++] = lane.context;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Current current(contexts[i]);
    if (!current) continue;
    const CUevent event = free_event(contexts[i]);
    if (event && real::cuCtxRecordEvent(contexts[i], event) == CUDA_SUCCESS) continue;
    forget(event);
    (void)real::cuCtxSynchronize();
  }
}

// While one of our events may be what a legacy stream is busy with.
class Marking {
 public:
  Marking() { marking_now.store(true, std::memory_order_release); }
  ~Marking() { marking_now.store(false, std::memory_order_release); }
  Marking(const Marking&) = delete;
  Marking& operator=(const Marking&) = delete;
};

}  // namespace

bool marking() { return marking_now.load(std::memory_order_acquire); }

void forget_context(CUcontext context) {
  for (std::size_t i = markers.size(); i-- > 0;)
    if (markers[i].context == context) markers.erase(i);
}

void see_completed() {
  for (const Marker& marker : markers) {
    const Current current(marker.context);
    if (current && !marker.pending && real::cuEventQuery(marker.event) == CUDA_SUCCESS)
      (void)real::cuEventSynchronize(marker.event);
  }
}

Result wait(unsigned slot, std::uint64_t word, std::uint64_t deadline_ns) {
  Attempt attempt(slot, word, deadline_ns);
  gate::barrier();
  if (!attempt.until(Overdue::thread_inside, gate::all_outside)) return attempt.result();
  if (on(Protection::capture_count) && !attempt.until(Overdue::capture_open, no_capture)) return attempt.result();
  {
    const Marking marking;
    if (!mark_all()) return {Outcome::overdue, Overdue::capture_open};
    if (!attempt.until(Overdue::stream_busy, marks_passed)) return attempt.result();
  }
  if (!attempt.until(Overdue::stream_busy, other_streams_idle)) return attempt.result();
  const Marking marking;
  mark_contexts(slot);
  (void)attempt.until(Overdue::stream_busy, marks_passed);
  return attempt.result();
}

}  // namespace lull::drain

#include "shim/drain.h"

#include <ctime>

#include "shim/clock.h"
#include "shim/engine.h"
#include "shim/gate.h"
#include "shim/log.h"
#include "shim/process.h"

namespace lull::drain {
namespace {

// Events are made once and used again for every drain.
struct Marker {
  CUcontext context;
  CUevent event;
  bool pending;
};
Vector<Marker> markers;

class Attempt {
 public:
  Attempt(unsigned slot, std::uint64_t word, std::uint64_t deadline) : slot_(slot), word_(word), deadline_(deadline) {}

  // Asks `done` again and again. Gives up on time or when the gate has changed.
  template <class Done>
  bool until(Overdue reason, Done done) {
    for (unsigned round = 0; !done(); ++round) {
      if (process::down().gpu[slot_].gate.load(std::memory_order_acquire) != word_) return fail(Outcome::gate_changed, Overdue::none);
      if (monotonic_ns() > deadline_) return fail(Outcome::overdue, reason);
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

// One event on every lane. The lock keeps streams from being destroyed, and captures from beginning, meanwhile.
void mark_lanes() {
  for (Marker& marker : markers) marker.pending = false;
  const Locked locked(process::lanes_mutex());
  for (const process::Lane& lane : process::lanes(locked)) {
    const Current current(lane.context);
    if (!current) continue;
    const CUevent event = free_event(lane.context);
    if (event) (void)real::cuEventRecord(event, lane.stream);  // a lane that cannot be marked: the synchronise covers it
  }
}

bool all_marks_passed() {
  for (Marker& marker : markers) {
    if (!marker.pending) continue;
    const Current current(marker.context);
    if (real::cuEventQuery(marker.event) == CUDA_ERROR_NOT_READY) return false;
    marker.pending = false;  // passed, or failed with an error the program will meet itself
  }
  return true;
}

void synchronize_contexts() {
  const Locked locked(process::lanes_mutex());
  for (const process::Lane& lane : process::lanes(locked)) {
    if (lane.stream) continue;
    const Current current(lane.context);
    if (current) (void)real::cuCtxSynchronize();
  }
}

void forget_dead_contexts() {
  const Locked locked(process::lanes_mutex());
  for (std::size_t i = markers.size(); i-- > 0;) {
    bool alive = false;
    for (const process::Lane& lane : process::lanes(locked)) alive |= lane.context == markers[i].context;
    if (!alive) markers.erase(i);  // the event went with its context
  }
}

}  // namespace

Result wait(unsigned slot, std::uint64_t word, std::uint64_t deadline_ns) {
  Attempt attempt(slot, word, deadline_ns);
  gate::barrier();
  if (!attempt.until(Overdue::thread_inside, gate::all_outside)) return attempt.result();
  if (!attempt.until(Overdue::capture_open, [] { return process::captures_open() == 0; })) return attempt.result();
  forget_dead_contexts();
  mark_lanes();
  if (!attempt.until(Overdue::stream_busy, all_marks_passed)) return attempt.result();
  if (process::captures_open() == 0) synchronize_contexts();
  return attempt.result();
}

}  // namespace lull::drain

#include "shim/lanes.h"

#include "shim/clock.h"
#include "shim/engine.h"
#include "shim/lock.h"

namespace lull::flight {
namespace {

constexpr unsigned most_lanes = 64;
constexpr std::uint64_t longest_patience_ns = 5'000'000;  // with Python's lock, perhaps

Mutex mutex;
Where names[most_lanes];  // apart from the rest, since they are searched
Lane lanes[most_lanes];
unsigned last_found = 0;

unsigned index_of(const Lane& lane) { return static_cast<unsigned>(&lane - lanes); }

bool in_driver(const Lane& lane) {
  for (const Marker& marker : lane.markers)
    if (marker.state.load(std::memory_order_acquire) == Marker::taken) return true;
  return false;
}

// Queries count as unsafe where another thread captures, unless this one says that it knows.
class Relaxed {
 public:
  Relaxed() { done_ = real::cuThreadExchangeStreamCaptureMode(&mode_) == CUDA_SUCCESS; }
  ~Relaxed() {
    if (done_) (void)real::cuThreadExchangeStreamCaptureMode(&mode_);
  }
  Relaxed(const Relaxed&) = delete;
  Relaxed& operator=(const Relaxed&) = delete;

 private:
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
  bool done_;
};

}  // namespace

Tried::Tried(Patience patience) {
  for (unsigned spins = 0; spins < 200; ++spins) {
    if ((held_ = mutex.try_lock())) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  if (patience == briefly) return;
  const std::uint64_t deadline = monotonic_ns() + longest_patience_ns;
  for (std::uint64_t now = monotonic_ns(); !held_ && now < deadline; now = monotonic_ns()) {
    signals_.let_in();
    mutex.await(deadline - now);
    signals_.block();
    held_ = mutex.try_lock_after_wait();
  }
}

Tried::~Tried() {
  if (held_) mutex.unlock();
}

Where where(CUstream stream, const gate::Entry& mine) {
  const bool own = stream == CU_STREAM_PER_THREAD;
  if (stream && stream != CU_STREAM_LEGACY && !own) return {stream, nullptr, nullptr};
  CUcontext current = nullptr;
  (void)real::cuCtxGetCurrent(&current);
  return {nullptr, own ? &mine : nullptr, current};
}

CUcontext context_of(const Where& where) {
  CUcontext context = where.context;
  if (where.stream && real::cuStreamGetCtx(where.stream, &context) != CUDA_SUCCESS) return nullptr;
  return context;
}

Lane* find(const Tried&, const Where& where) {
  if (lanes[last_found].context && names[last_found] == where) return &lanes[last_found];
  for (unsigned i = 0; i < most_lanes; ++i)
    if (names[i] == where && lanes[i].context) return &lanes[last_found = i];
  return nullptr;
}

Lane* make(const Tried& tried, const Where& where, CUcontext context, unsigned slot, std::uint64_t now_ns) {
  Lane* oldest = nullptr;
  for (Lane& lane : lanes) {
    if (in_driver(lane)) continue;
    if (!oldest || (oldest->context && (!lane.context || lane.used_ns < oldest->used_ns))) oldest = &lane;
  }
  if (!oldest) return nullptr;
  drop(tried, *oldest);
  for (Marker& marker : oldest->markers) marker.event = nullptr, marker.state.store(Marker::unused);
  names[index_of(*oldest)] = where;
  oldest->context = context, oldest->slot = slot, oldest->used_ns = now_ns;
  oldest->visitor = nullptr, oldest->visitors = 0;
  oldest->backlog = {};
  return oldest;
}

// An event that its thread is just recording is left to the context's end.
void drop(const Tried&, Lane& lane) {
  if (!lane.context) return;
  const Current current(lane.context);
  for (Marker& marker : lane.markers) {
    if (marker.state.load(std::memory_order_acquire) == Marker::taken) continue;
    if (marker.event && current) (void)real::cuEventDestroy_v2(marker.event);
    marker.event = nullptr;
    marker.state.store(Marker::unused, std::memory_order_relaxed);
  }
  lane.context = nullptr;
  lane.serial = 0;
}

void drop_context(const Tried& tried, CUcontext context) {
  for (Lane& lane : lanes)
    if (lane.context == context) drop(tried, lane);
}

bool Lane::any_waiting() const {
  for (const Marker& marker : markers)
    if (marker.state.load(std::memory_order_acquire) == Marker::placed) return true;
  return false;
}

void Lane::begin(std::uint64_t limit_ns, std::uint64_t now_ns) {
  for (Marker& marker : markers) {
    int placed = Marker::placed;
    (void)marker.state.compare_exchange_strong(placed, Marker::unused);
  }
  static std::uint32_t serials = 0;
  serial = ++serials;
  backlog.begin(limit_ns, now_ns);
}

// Few are placed at a time. They pass in order, so asking stops at the first that has not been passed.
void Lane::poll() {
  const Relaxed relaxed;
  const std::uint64_t asked_ns = monotonic_ns();
  Backlog::Marker passed{};
  bool any = false;
  for (;;) {
    Marker* first = nullptr;
    for (Marker& marker : markers)
      if (marker.state.load(std::memory_order_acquire) == Marker::placed &&
          (!first || marker.at.position < first->at.position))
        first = &marker;
    const bool waits = first && real::cuEventQuery(first->event) == CUDA_ERROR_NOT_READY;
    if (!first || waits)
      return backlog.seen(asked_ns, monotonic_ns(), any ? &passed : nullptr, waits ? &first->at : nullptr);
    any = true;  // or it has failed: the program will meet the error itself
    if (first->at.position > passed.position) passed = first->at;
    first->state.store(Marker::unused, std::memory_order_relaxed);
  }
}

Marker* Lane::take_marker() {
  for (Marker& marker : markers) {
    if (marker.state.load(std::memory_order_acquire) != Marker::unused) continue;
    if (!marker.event) {
      const Current current(context);
      if (!current || real::cuEventCreate(&marker.event, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) {
        marker.event = nullptr;
        return nullptr;
      }
    }
    marker.state.store(Marker::taken, std::memory_order_relaxed);
    return &marker;
  }
  return nullptr;
}

}  // namespace lull::flight

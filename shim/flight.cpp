#include "shim/flight.h"

#include "shim/clock.h"
#include "shim/futex.h"
#include "shim/gil.h"
#include "shim/handlers.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/protection.h"

namespace lull::flight {
namespace {

constexpr std::int64_t unknown_credit = 16;  // of a look that has seen nothing
constexpr std::uint64_t shortest_pause_ns = 50'000, longest_pause_ns = 2'000'000;
constexpr std::uint64_t keeps_python_ns = 5'000'000;  // longer than this no thread waits with Python's lock
constexpr std::uint64_t most_limits = 20, longest_wait_ns = 2'000'000'000;

std::atomic<bool> limited{false};        // as the mover has last seen it
std::atomic<bool> endless_given{false};  // since credit was last taken back
std::atomic<std::uint32_t> tightenings{0};
std::atomic<std::uint32_t> thrown{1};

std::uint64_t limit_ns(unsigned slot) {
  if (!on(Protection::bounded_flight)) return 0;
  return std::uint64_t{process::down().gpu[slot].drain_limit_us.load(std::memory_order_acquire)} * 1000;
}

bool any_limit() {
  for (unsigned slot = 0; slot < max_gpus; ++slot)
    if (process::attached(slot) && limit_ns(slot)) return true;
  return false;
}

// Whoever finds no limit after the credit is in his account gives it before the mover takes it back. What is submitted
// from now on is not counted to any stream.
bool grant_endless(gate::Entry& mine) {
  mine.uncounted = true;
  endless_given.store(true);
  gate::grant(mine, gate::endless);
  return !any_limit();
}

// Between half of it and all: who submits to two streams by turns must not look at one of them only.
std::int64_t uneven(Backlog::Units credit) {
  const std::uint32_t before = thrown.load(std::memory_order_relaxed);
  thrown.store(before * 1664525 + 1013904223, std::memory_order_relaxed);
  return static_cast<std::int64_t>(credit - (before >> 16) % (credit / 2 + 1));
}

void note_visitor(Lane& lane, const gate::Entry& mine) {
  if (lane.visitor != &mine)
    lane.visitors += lane.visitors < 8;
  else
    lane.visitors -= lane.visitors > 0;
  lane.visitor = &mine;
}

// What has been submitted since the last look. With endless credit nobody knows how much of it is still queued.
Backlog::Units take_account(gate::Entry& mine) {
  const std::uint64_t made = mine.submissions();
  const Backlog::Units units = mine.uncounted ? 0 : made - mine.accounted;
  mine.accounted = made;
  mine.uncounted = false;
  return units;
}

bool gate_lets_in() {
  if (gate::holds() || !gate::active_now()) return false;
  for (unsigned slot = 0; slot < max_gpus; ++slot)
    if (process::attached(slot) && gate::closed(process::down().gpu[slot].gate.load(std::memory_order_acquire)))
      return false;
  return true;
}

struct Verdict {
  bool go = true;
  Backlog::Units credit = 1;
  std::uint64_t pause_ns = 0;
};

// One look at a lane whose limit stands. `waits`: not the first in a row.
Verdict judge(Lane& lane, const gate::Submission& what, std::uint64_t limit, std::uint64_t now, bool waits) {
  lane.poll();
  lane.used_ns = now;
  const Backlog& backlog = lane.backlog;
  const bool go = !lane.any_waiting() || (waits ? backlog.calm(limit) : backlog.room(what.units, limit));
  const std::uint64_t surplus = backlog.ahead_ns() - std::min(backlog.ahead_ns(), limit / 2);
  return {go, std::max<Backlog::Units>(backlog.credit(limit) / (1 + lane.visitors), 1),
          std::clamp(surplus / 4, shortest_pause_ns, longest_pause_ns)};
}

// The mover's: since its last look.
bool has_become_tighter() {
  static std::uint64_t before[max_gpus];
  bool tighter = false;
  for (unsigned slot = 0; slot < max_gpus; ++slot) {
    const std::uint64_t limit = process::attached(slot) ? limit_ns(slot) : 0;
    tighter = tighter || (limit && (before[slot] == 0 || limit < before[slot]));
    before[slot] = limit;
  }
  return tighter;
}

// Until there is room in the stream, or it is no longer ours to wait. The credit for what follows.
Backlog::Units wait_for_room(const Where& place, const gate::Submission& what, Verdict verdict) {
  const std::uint64_t began = monotonic_ns();
  GilRelease gil;
  for (;;) {
    const std::uint32_t wake = process::down().wake.load(std::memory_order_acquire);
    if (!gate_lets_in()) return verdict.credit;
    (void)futex::wait(process::down().wake, wake, verdict.pause_ns, futex::Scope::shared);
    const std::uint64_t now = monotonic_ns();
    if (now - began > keeps_python_ns) gil.release();
    const Tried tried;
    if (!tried) {  // somebody looks; should he never come back, nobody waits for him
      if (now - began > longest_wait_ns) return 1;
      continue;
    }
    Lane* lane = find(tried, place);
    const std::uint64_t limit = lane ? limit_ns(lane->slot) : 0;
    if (!limit) return 1;
    verdict = judge(*lane, what, limit, now, true);
    if (verdict.go) return verdict.credit;
    if (now - began > std::min(most_limits * limit, longest_wait_ns)) return lane->backlog.gave_up();
  }
}

// The lane of a stream that has none yet. False: there is no limit where it is.
bool begin_lane(const Where& place) {
  const CUcontext context = context_of(place);
  const auto slot = context ? process::slot_of(context) : std::nullopt;
  const std::uint64_t limit = slot ? limit_ns(*slot) : 0;
  if (!limit) return false;
  const Tried tried(Tried::patiently);
  const std::uint64_t now = monotonic_ns();
  Lane* lane = tried && !find(tried, place) ? make(tried, place, context, *slot, now) : nullptr;
  if (lane) lane->begin(limit, now);
  return true;
}

// False: there is nothing to look at.
bool look_at(const Where& place, gate::Entry& mine, const gate::Submission& what, Verdict& verdict) {
  const Tried tried(Tried::patiently);
  Lane* lane = tried ? find(tried, place) : nullptr;
  const std::uint64_t limit = lane ? limit_ns(lane->slot) : 0;
  if (!limit) return false;
  const std::uint64_t now = monotonic_ns();
  // Under a tighter limit an estimate that was made long ago would let too much in before it is corrected.
  const std::uint32_t tightened = tightenings.load(std::memory_order_relaxed);
  if (mine.uncounted || lane->tightened != tightened) lane->begin(limit, now);
  lane->tightened = tightened;
  // All of it to the stream of the last look, where its first submission went for certain; if that is not the one it
  // was, or has begun anew since, nobody knows.
  const Backlog::Units units = take_account(mine);
  if (mine.lane && mine.lane->serial == mine.lane_serial) mine.lane->backlog.issue(units);
  mine.lane = lane;
  mine.lane_serial = lane->serial;
  note_visitor(*lane, mine);
  verdict = judge(*lane, what, limit, now, false);
  return true;
}

}  // namespace

bool bounded() { return limited.load(std::memory_order_relaxed); }

bool look(gate::Entry& mine, const gate::Submission& what) {
  if (!any_limit() && grant_endless(mine)) return false;
  gate::grant(mine, unknown_credit);
  if (process::captures_open() > 0) return (void)take_account(mine), false;  // what is captured is no work
  if (!what.names_stream) return false;
  const Where place = where(what.stream, mine);
  Verdict verdict;
  if (!look_at(place, mine, what, verdict)) {
    if (!begin_lane(place)) return (void)take_account(mine), false;
    if (!look_at(place, mine, what, verdict)) return false;
  }
  const Backlog::Units credit = verdict.go ? verdict.credit : wait_for_room(place, what, verdict);
  gate::grant(mine, uneven(credit));
  return true;
}

void mark(gate::Entry& mine, const gate::Submission& what) {
  const Where place = where(what.stream, mine);
  Marker* marker = nullptr;
  {
    const Tried tried;
    Lane* lane = tried ? find(tried, place) : nullptr;
    if (!lane) return;
    const std::uint64_t limit = limit_ns(lane->slot);
    if (limit && process::captures_open() == 0 && lane->backlog.due(limit, lane->any_waiting()))
      marker = lane->take_marker();
    if (marker) {
      marker->at = {lane->backlog.position(), monotonic_ns()};
      lane->backlog.marked();
    }
    lane->backlog.follows(what.units);
    lane->backlog.issue(what.units - 1);  // the one is in the thread's own count
  }
  if (!marker) return;
  const bool placed = real::cuEventRecord(marker->event, what.stream) == CUDA_SUCCESS;
  marker->state.store(placed ? Marker::placed : Marker::unused, std::memory_order_release);
  if (placed) return;
  const Tried tried;  // a stream that is another one by now, or none
  if (Lane* lane = tried ? find(tried, place) : nullptr) drop(tried, *lane);
}

bool follow() {
  const bool now = any_limit();
  limited.store(now, std::memory_order_relaxed);
  const bool tighter = has_become_tighter();
  if (tighter) tightenings.fetch_add(1, std::memory_order_relaxed);
  const bool endless = now && endless_given.exchange(false);
  if ((tighter || endless) && !gate::take_credit_back()) endless_given.store(true);
  return !now || !endless_given.load();
}

void forget_stream(CUstream stream) {
  const Tried tried;
  if (Lane* lane = tried ? find(tried, {stream, nullptr, nullptr}) : nullptr) drop(tried, *lane);
}

void forget_context(CUcontext context) {
  const Tried tried(Tried::patiently);
  if (tried) drop_context(tried, context);
}

}  // namespace lull::flight

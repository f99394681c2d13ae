#include "shim/mover.h"

#include <pthread.h>
#include <csignal>
#include <cstdlib>
#include <ctime>

#include "shim/allocations.h"
#include "shim/backing.h"
#include "shim/clock.h"
#include "shim/deferred.h"
#include "shim/drain.h"
#include "shim/engine.h"
#include "shim/flight.h"
#include "shim/futex.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/ledger.h"
#include "shim/link.h"
#include "shim/log.h"
#include "shim/mappings.h"
#include "shim/native.h"
#include "shim/parking.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/residency.h"
#include "shim/room.h"
#include "shim/threads.h"
#include "shim/timed.h"

namespace lull::mover {
namespace {

constexpr std::uint64_t drain_deadline_ns = 5'000'000'000;  // longer than this is for the broker to decide

constexpr std::uint64_t longest_rest_ns = 5'000'000'000, asking_ns = 50'000'000;

std::atomic<bool> started{false};
// The mover works, or whoever destroys a context has it rest: each says so before it looks at the other's word.
std::atomic<bool> working{false};
std::atomic<std::uint64_t> rest_until_ns[16];  // one for each who asks; what is past counts no more
std::atomic<unsigned> jobs{0}, stuck_in{0};    // a job of the mover's that somebody has waited for in vain

struct Progress {
  std::uint32_t session = 0;                                 // what follows has been told to this broker
  std::uint64_t drained_word = 0;                            // gate word for which the drain has been proven; 0: none
  std::uint64_t late = 0;                                    // as the drain began: see gate::late_passes
  std::uint64_t drain_again_ns = 0;                          // not before, after a drain that failed
  std::uint64_t retry_ns = 0;                                // not before, unless the broker says something new
  std::uint64_t gate_word = 0, quota_word = 0, backing = 0;  // as of the last look
  std::uint64_t phase = 0;                                   // last published
  Overdue failure = Overdue::none;                           // of the last move; told also while it is tried again
  std::uint64_t idle_left = 0;                               // what stayed of idle native memory at the last trim
  bool quota_full = false;                                   // the last restore has found no room for another chunk
  unsigned random = 1;
};
Progress progress[max_gpus];

bool still(unsigned slot, std::uint64_t word) {
  return process::down().gpu[slot].gate.load(std::memory_order_acquire) == word;
}

// Answers to a gate word that no longer stands are kept: a new broker would take an old generation for a lie.
void say(unsigned slot, std::uint64_t gate_word, Phase phase, Overdue reason = Overdue::none) {
  if (!still(slot, gate_word)) return;
  const std::uint64_t word = pack(PhaseWord{gate_word >> 2, phase, reason});
  UpGpu& up = process::up().gpu[slot];
  process::publish(up.seen_gate, gate_word);
  process::publish(up.phase, word);
  if (progress[slot].phase == word) return;
  progress[slot].phase = word;
  process::kick_link();
}

// Whether a retry after a failure is still to wait.
bool resting(Progress& p) { return monotonic_ns() < p.retry_ns; }

// A managed client that finds the card full waits for a neighbour's last chunk: that is soon.
void rest_briefly(Progress& p) { p.retry_ns = monotonic_ns() + 10'000'000; }

void rest(Progress& p) {
  p.random = p.random * 1103515245 + 12345;
  p.retry_ns = monotonic_ns() + 100'000'000 + p.random % 400'000'000;  // apart from others in the same place
}

// True when nothing runs on the GPU and the gate is still the closed one of `word`.
bool drained(unsigned slot, std::uint64_t word) {
  Progress& p = progress[slot];
  const bool before = p.drained_word == word;
  if (before && p.late == gate::late_passes()) return true;
  if (monotonic_ns() < p.drain_again_ns) return false;
  timed::let_pair_end(slot, word);
  p.late = gate::late_passes();
  if (!before) say(slot, word, Phase::draining);
  const auto result = drain::wait(slot, word, monotonic_ns() + drain_deadline_ns);
  if (result.outcome == drain::Outcome::gate_changed) return false;
  if (result.outcome == drain::Outcome::overdue) {
    say(slot, word, Phase::overdue, result.reason);
    p.drain_again_ns = monotonic_ns() + recheck_ns;  // it has to be seen, before "draining" takes its place
    return false;
  }
  p.drained_word = word;
  say(slot, word, Phase::drained);
  return true;
}

// A context may have gone by a route that nobody watches; the next attempt then takes another one.
void failed(unsigned slot, std::uint64_t word, Overdue failure) {
  progress[slot].failure = failure;
  say(slot, word, Phase::overdue, failure);
  const CUcontext context = failure == Overdue::copy_failed ? process::working_context(slot) : nullptr;
  if (context && process::gone(context)) context::forget(context);
}

void evict(unsigned slot, std::uint64_t word) {
  // The hold goes up before anything is unmapped; only if the gate has not opened in between, and nobody at its end has
  // passed it closed, is nobody inside.
  ledger::set_moving(true);
  if (still(slot, word) && progress[slot].late == gate::late_passes()) {
    say(slot, word, Phase::moving, progress[slot].failure);
    room::evicted(slot);
    const Overdue failure = residency::evict(slot);
    if (failure == Overdue::none)
      progress[slot].failure = failure, say(slot, word, Phase::drained);
    else
      failed(slot, word, failure), rest(progress[slot]);
  }
  ledger::set_moving(false);
}

// A client that nobody manages any more comes back whole or not at all: half of it would only keep others out.
bool room_for_all(unsigned slot) {
  const CUcontext context = process::working_context(slot);
  const Current current(context);
  std::size_t free = 0, total = 0;
  if (!current || real::cuMemGetInfo_v2(&free, &total) != CUDA_SUCCESS) return false;
  const auto sizes = ledger::sizes(slot);
  return free + sizes.resident >= sizes.needed;
}

// Stuck half-way: everything out again. What cannot leave stays and is tried again. The hold stands from before the
// drain, because the program may free what is absent meanwhile, and nothing else keeps its threads back.
void evict_whole(unsigned slot, std::uint64_t word) {
  ledger::set_moving(true);
  if (drain::wait(slot, word, monotonic_ns() + drain_deadline_ns).outcome == drain::Outcome::drained)
    (void)residency::evict_all(slot);
  ledger::set_moving(false);
}

void restore(unsigned slot, std::uint64_t word) {
  Progress& p = progress[slot];
  const auto quota = process::quota(slot);
  const bool managed = quota.has_value();
  if (!managed && (!residency::all_at_hand(slot) || link::settling() || !room_for_all(slot))) return rest(p);
  const std::uint64_t before = ledger::sizes(slot).resident;
  if (!p.quota_full) say(slot, word, Phase::moving, p.failure);
  const Overdue failure = residency::restore(slot);
  if (failure != Overdue::none) {
    failed(slot, word, failure);
    if (managed && failure == Overdue::no_device_memory) room::restore_failed(slot);
    if (!managed) evict_whole(slot, word);
    return managed && failure == Overdue::no_device_memory ? rest_briefly(p) : rest(p);
  }
  // What was lost may be on its way from the disk again.
  if (p.failure != Overdue::none && residency::all_at_hand(slot)) p.failure = Overdue::none;
  room::restored(slot);
  if (!residency::anything_absent(slot)) return say(slot, word, gate::closed(word) ? Phase::ready : Phase::running);
  // The quota ends it, or less than a chunk of it is left: behind a closed gate that is rest, until the quota changes.
  const std::uint64_t resident = ledger::sizes(slot).resident;
  p.quota_full = resident == before || (quota && resident >= *quota);
  if (p.quota_full && gate::closed(word)) say(slot, word, Phase::drained);
}

// The quota is all that the process may keep beside what it uses natively: so idle memory of pools and graphs goes too,
// also where nothing else is left to evict. Once, until there is more of it.
void trim_native(unsigned slot, std::uint64_t quota) {
  Progress& p = progress[slot];
  const std::uint64_t idle = native::idle(slot);
  if (idle <= p.idle_left || ledger::sizes(slot).resident + idle <= quota) return;
  if (!native::trim(slot)) return;
  p.idle_left = native::idle(slot);
  ledger::count_native(slot);
  process::kick_link();  // there is room for others
}

void follow(unsigned slot) {
  const DownGpu& down = process::down().gpu[slot];
  const std::uint64_t word = down.gate.load(std::memory_order_acquire);
  const std::uint64_t quota_word = down.quota_plus_1.load(std::memory_order_acquire);
  const bool closed = gate::closed(word);
  ledger::publish_quota_seen(slot, quota_word);  // also before the drain: growth reads the quota itself, under its lock
  Progress& p = progress[slot];
  // Another broker numbers its gates anew: its first word may be the very one that has been answered to another.
  if (const std::uint32_t session = process::session(); p.session != session)
    p.session = session, p.drained_word = p.drain_again_ns = p.phase = 0;
  if (p.gate_word != word || p.quota_word != quota_word || p.backing != backing::total_bytes())
    p.retry_ns = 0, p.quota_full = false;
  if (p.gate_word != word) p.drain_again_ns = 0;
  p.gate_word = word, p.quota_word = quota_word, p.backing = backing::total_bytes();
  if (!closed) p.drained_word = 0, p.idle_left = 0;
  if (closed && !drained(slot, word)) return;
  if (closed) (void)deferred::give_back_finished();  // by now all of it, and it need not be copied
  if (!closed && !residency::anything_absent(slot)) say(slot, word, Phase::running);
  const auto sizes = ledger::sizes(slot);
  const auto quota = parse_limit(quota_word);
  if (closed && quota) trim_native(slot, *quota);
  if (resting(progress[slot])) return;
  if (closed && quota && sizes.resident > *quota) return evict(slot, word);
  if (sizes.resident < sizes.needed && (!quota || sizes.resident < *quota)) restore(slot, word);
}

// Ahead of need: registering gigabytes takes long, and must not be left for the eviction that needs them.
void prepare(unsigned slot) {
  mappings::release_deferred(Locked(ledger::mutex()));
  deferred::give_back();
  if (backing::total_bytes() == 0) return;
  const CUcontext context = process::working_context(slot);
  if (!context || (!backing::unregistered() && residency::prepared(slot, context))) return;
  const Current current(context);
  if (!current) return;
  backing::register_arenas();
  if (process::captures_open() == 0) residency::prepare(slot, context);
}

// Memory that the broker wants back, after everything that somebody waits for.
void shrink_backing() {
  const auto limit = parse_limit(process::down().backing_limit_plus_1.load(std::memory_order_acquire));
  if (!backing::may_shrink(limit)) return;
  CUcontext context = nullptr;
  for (unsigned slot = 0; slot < max_gpus && !context; ++slot) context = process::working_context(slot);
  const Current current(context);
  if (context && current) backing::shrink(limit);
}

// For a restore everything has to be at hand; what nobody waits for may go to disk.
bool wants_memory_back(unsigned slot) {
  const auto sizes = ledger::sizes(slot);
  const auto quota = process::quota(slot);
  return sizes.resident < sizes.needed && (!quota || sizes.resident < *quota);
}

void park_backing() {
  const std::uint64_t wanted = process::down().park_bytes.load(std::memory_order_acquire);
  if (!parking::may_park(wanted)) return;
  CUcontext context = nullptr;
  for (unsigned slot = 0; slot < max_gpus; ++slot) {
    if (wants_memory_back(slot)) return;
    if (!context) context = process::working_context(slot);
  }
  const Current current(context);
  if (context && current) parking::park(wanted, process::down().park_changing_bytes.load(std::memory_order_acquire));
}

void publish_activity(unsigned slot) { process::publish(process::up().gpu[slot].submissions, gate::submissions()); }

void work() {
  jobs.fetch_add(1, std::memory_order_relaxed);
  working.store(true, std::memory_order_seq_cst);
  if (!wanted_to_rest()) {
    process::for_each_slot(prepare);
    process::for_each_slot(follow);
    shrink_backing();
    park_backing();
    process::for_each_slot(ledger::count_native);
    process::for_each_slot(publish_activity);
    process::for_each_slot(room::look);
  }
  working.store(false, std::memory_order_release);  // and with it all that has been done
}

void* run(void*) {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  if (on(Protection::relaxed_mover)) (void)real::cuThreadExchangeStreamCaptureMode(&mode);
  for (unsigned slot = 0; slot < max_gpus; ++slot) progress[slot].random = static_cast<unsigned>(monotonic_ns()) + slot;
  for (;;) {
    const std::uint32_t wake = process::down().wake.load(std::memory_order_acquire);
    const bool bound_known = flight::follow();
    work();
    std::uint64_t pause = bound_known ? recheck_ns : recheck_ns / 50;
    for (const Progress& p : progress)
      if (const std::uint64_t now = monotonic_ns(); p.retry_ns > now && p.retry_ns - now < pause)
        pause = p.retry_ns - now;
    (void)futex::wait(process::down().wake, wake, pause, futex::Scope::shared);
  }
  return nullptr;
}

}  // namespace

void start() {
  if (!started.exchange(true) && !threads::start("lull-mover", run, 1 << 20))
    log::line("no thread for the mover; this process can be paused but not evicted");
}

bool wanted_to_rest() {
  const std::uint64_t now = monotonic_ns();
  for (const auto& until : rest_until_ns)
    if (until.load(std::memory_order_seq_cst) > now) return true;
  return false;
}

// While it waits it asks from moment to moment: whoever is thrown out of the wait asks no more.
Rest::Rest() {
  const timespec pause{0, 1'000'000};
  for (int i = 0;; ++i) {
    ask(monotonic_ns() + asking_ns);
    if (!working.load(std::memory_order_seq_cst)) break;
    const unsigned job = jobs.load(std::memory_order_relaxed);
    if (on(Protection::bounded_rest) && (i >= 1000 || stuck_in.load(std::memory_order_relaxed) == job)) {
      stuck_in.store(job, std::memory_order_relaxed);  // the next context of a program that ends goes at once
      break;
    }
    (void)::nanosleep(&pause, nullptr);
  }
  ask(monotonic_ns() + longest_rest_ns);
}

Rest::~Rest() {
  if (place_) place_->store(0, std::memory_order_seq_cst);
  process::nudge_mover();
}

void Rest::ask(std::uint64_t until_ns) {
  if (place_) return place_->store(until_ns, std::memory_order_seq_cst);
  const std::uint64_t now = monotonic_ns();
  for (auto& until : rest_until_ns) {
    std::uint64_t past = until.load(std::memory_order_relaxed);
    if (past > now || !until.compare_exchange_strong(past, until_ns, std::memory_order_seq_cst)) continue;
    place_ = &until;
    return;
  }
}

}  // namespace lull::mover

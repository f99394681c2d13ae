#include "shim/room.h"

#include "shim/clock.h"
#include "shim/deferred.h"
#include "shim/engine.h"
#include "shim/futex.h"
#include "shim/gate.h"
#include "shim/gil.h"
#include "shim/lock.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/sizes.h"

namespace lull::room {
namespace {

constexpr std::uint64_t patience_ns = 10'000'000'000;       // of a call, while the gate is open
constexpr std::uint64_t restore_patience_ns = 500'000'000;  // a neighbour's last chunk is gone sooner
constexpr std::uint64_t look_every_ns = recheck_ns / 2;

Mutex the_mutex;
std::uint64_t wanted[max_gpus];  // of all calls, and of the restore

// The mover's alone.
struct Restore {
  std::uint64_t asked = 0;
  std::uint64_t failing_since_ns = 0;  // 0: it is not
};
Restore restores[max_gpus];
std::uint64_t looked_ns[max_gpus];
std::uint32_t tight_slots = 0;

const DownGpu& down(unsigned slot) { return process::down().gpu[slot]; }

std::optional<std::uint64_t> given(unsigned slot) {
  return parse_limit(down(slot).native_room_plus_1.load(std::memory_order_acquire));
}

void publish(const Locked&, unsigned slot) { process::publish(process::up().gpu[slot].native_wanted, wanted[slot]); }

// False: more than the process was promised, with all it has.
bool want(unsigned slot, std::uint64_t more) {
  {
    const Locked locked(the_mutex);
    if (more > sizes::total(slot) - wanted[slot]) return false;
    wanted[slot] += more;
    publish(locked, slot);
  }
  process::kick_link();
  return true;
}

void give_back(unsigned slot, std::uint64_t bytes) {
  if (bytes == 0) return;
  {
    const Locked locked(the_mutex);
    wanted[slot] -= bytes;
    publish(locked, slot);
  }
  process::kick_link();
}

std::uint64_t wanted_now(unsigned slot) {
  const Locked locked(the_mutex, Locked::to_look);
  return wanted[slot];
}

// One call's requests. What it has asked for is given back at the end unless it is kept.
class Request {
 public:
  Request(unsigned slot, std::uint64_t bytes)
      : slot_(slot), next_(bytes > sizes::chunk(slot) ? bytes : sizes::chunk(slot)) {}
  ~Request() { give_back(slot_, asked_); }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  void keep() { asked_ = 0; }
  // True: there is more room than before.
  bool more() {
    if (!given(slot_) || !want(slot_, next_)) return false;
    asked_ += next_;
    next_ *= 2;
    return answered();
  }

 private:
  bool answered() {
    GilRelease gil;
    for (;;) {
      const std::uint64_t came = monotonic_ns();
      { const gate::Pass turn(gate::Submission{}); }
      patience_ends_ += monotonic_ns() - came;
      const std::uint32_t wake = process::down().wake.load(std::memory_order_acquire);
      const auto room = given(slot_);
      const std::uint64_t all = wanted_now(slot_);
      if (!room || down(slot_).native_refused.load(std::memory_order_acquire) == all) return false;
      if (*room >= all) return true;
      if (monotonic_ns() > patience_ends_) return false;
      gil.release();
      (void)futex::wait(process::down().wake, wake, recheck_ns, futex::Scope::shared);
    }
  }

  unsigned slot_;
  std::uint64_t next_, asked_ = 0;
  std::uint64_t patience_ends_ = monotonic_ns() + patience_ns;
};

bool may_wait() { return gate::active_now() && !gate::inside() && process::captures_open() == 0; }

}  // namespace

[[gnu::cold]] CUresult ask_and_call(Again* again, void* call, Where where) {
  if (!may_wait()) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto slot = where.slot ? where.slot : process::slot_of_current();
  if (!slot || !process::attached(*slot)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
  if (deferred::give_back_finished()) result = again(call);
  Request request(*slot, where.bytes);
  while (result == CUDA_ERROR_OUT_OF_MEMORY && request.more()) result = again(call);
  if (result != CUDA_ERROR_OUT_OF_MEMORY) request.keep();
  log::line(result == CUDA_ERROR_OUT_OF_MEMORY ? "no room for native memory" : "room for native memory has been made");
  return result;
}

void look(unsigned slot) {
  const std::uint64_t now = monotonic_ns();
  if (now - looked_ns[slot] < look_every_ns) return;
  looked_ns[slot] = now;
  bool tight = false;
  const CUcontext context = given(slot) ? process::working_context(slot) : nullptr;
  if (context) {
    const Current current(context);
    std::size_t free = 0, total = 0;
    tight = current && real::cuMemGetInfo_v2(&free, &total) == CUDA_SUCCESS && total && free < sizes::chunk(slot);
  }
  const std::uint32_t before = tight_slots, bit = 1u << slot;
  tight_slots = tight ? before | bit : before & ~bit;
  if (tight_slots && !before) gate::set(gate::tight);
  if (!tight_slots && before) gate::clear(gate::tight);
}

void restore_failed(unsigned slot) {
  Restore& r = restores[slot];
  const std::uint64_t now = monotonic_ns();
  if (r.failing_since_ns == 0) r.failing_since_ns = now;
  const auto room = given(slot);
  if (now - r.failing_since_ns < restore_patience_ns || !room || *room < wanted_now(slot)) return;
  const std::uint64_t more = r.asked > 0 ? r.asked : sizes::chunk(slot);
  if (!want(slot, more)) return;
  r.asked += more;
  r.failing_since_ns = now;
  log::line("restore: no memory on the card, although there should be; asking for room");
}

void restored(unsigned slot) { restores[slot].failing_since_ns = 0; }

void evicted(unsigned slot) {
  give_back(slot, restores[slot].asked);
  restores[slot] = {};
}

void publish_all() {
  const Locked locked(the_mutex);
  for (unsigned slot = 0; slot < max_gpus; ++slot) publish(locked, slot);
}

}  // namespace lull::room

#include "shim/process.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <csignal>

#include <ctime>

#include "shim/clock.h"
#include "shim/environment.h"
#include "shim/futex.h"
#include "shim/gate.h"
#include "shim/leaving.h"
#include "shim/ledger.h"
#include "shim/link.h"
#include "shim/log.h"
#include "shim/mover.h"
#include "shim/room.h"

namespace lull::process {
namespace {

enum State : int { dormant, starting, active, inert };
std::atomic<int> state{dormant};
std::int32_t owner_pid = 0;

std::uint8_t* page_base = nullptr;  // down, then up; constant once set
std::atomic<std::uint32_t> attached_slots{0};
std::atomic<int> open_captures{0};
std::atomic<std::uint64_t> passed_generation{0};
std::atomic<std::uint32_t> sessions{0};

struct Known {
  CUcontext context;
  unsigned slot;
};
Mutex contexts_mutex;
Vector<Known> contexts;
std::atomic<std::uint32_t> contexts_version{1};  // another one whenever one has come or gone

// What a thread has asked for last, since it is what it will ask for next.
struct Asked {
  CUcontext context;
  unsigned slot;
  std::uint32_t version;
};
__thread Asked asked_last = {nullptr, 0, 0};

Mutex the_lanes_mutex;
Vector<Lane> the_lanes;

bool map_zeroes(std::uint8_t* at, int protection) {
  return ::mmap(at, page_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

bool start() {
  const long unit = ::sysconf(_SC_PAGESIZE);
  const std::size_t stride = unit > static_cast<long>(page_bytes) ? static_cast<std::size_t>(unit) : page_bytes;
  void* base = ::mmap(nullptr, 2 * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return false;
  page_base = static_cast<std::uint8_t*>(base);
  owner_pid = ::getpid();
  if (!gate::prepare(&down().gpu[0].gate)) return false;
  return link::start();
}

// The first broker word about a GPU: until it is there, an allocation would not know its quota.
void await_first_word(unsigned slot) {
  const std::uint64_t deadline = monotonic_ns() + 2'000'000'000;
  while (link::expected() && !quota(slot) && monotonic_ns() < deadline) {
    const std::uint32_t wake = down().wake.load(std::memory_order_acquire);
    if (quota(slot)) return;
    (void)futex::wait(down().wake, wake, 10'000'000, futex::Scope::shared);
  }
}

void attach(unsigned slot) {
  const std::uint32_t bit = 1u << slot;
  {
    const SignalsBlocked together;  // a handler that left in between would leave a GPU that nobody follows
    const std::uint32_t before = attached_slots.fetch_or(bit);
    if (before & bit) return;
    if (before == 0)
      gate::gate_word = &down().gpu[slot].gate;
    else
      gate::set(gate::look_closer);
    mover::start();
  }
  kick_link();
  await_first_word(slot);
}

// The current context is a destroyed one: that can still be current, and may still tell its device.
bool current_is_gone() {
  std::size_t free = 0, total = 0;
  const CUresult asked = real::cuMemGetInfo_v2(&free, &total);
  return asked == CUDA_ERROR_CONTEXT_IS_DESTROYED || asked == CUDA_ERROR_INVALID_CONTEXT;
}

}  // namespace

bool activate() {
  const int now = state.load(std::memory_order_acquire);
  if (now == active) [[likely]]
    return gate::active_now();  // false in a forked child
  if (now == inert || !opted_in()) return false;
  const SignalsBlocked together;  // or a handler that left in between would leave it "starting" for ever
  int expected = dormant;
  if (!state.compare_exchange_strong(expected, starting)) {
    for (int i = 0; i < 2000 && state.load(std::memory_order_acquire) == starting; ++i) ::usleep(100);
    return state.load(std::memory_order_acquire) == active && gate::active_now();
  }
  const bool started = start();
  if (!started) log::line("could not start; every call goes straight to the driver");
  if (started) leaving::watch_program();
  state.store(started ? active : inert, std::memory_order_release);
  return started;
}

const DownPage& down() { return *reinterpret_cast<const DownPage*>(page_base); }

UpPage& up() {
  const long unit = ::sysconf(_SC_PAGESIZE);
  return *reinterpret_cast<UpPage*>(page_base + (unit > static_cast<long>(page_bytes) ? unit : page_bytes));
}

std::uint32_t session() { return sessions.load(std::memory_order_acquire); }

bool attached(unsigned slot) { return (attached_slots.load(std::memory_order_acquire) >> slot & 1) != 0; }

void for_each_slot(void (*visit)(unsigned slot)) {
  for (unsigned slot = 0; slot < max_gpus; ++slot)
    if (attached(slot)) visit(slot);
}

std::optional<std::uint64_t> quota(unsigned slot) {
  return parse_limit(down().gpu[slot].quota_plus_1.load(std::memory_order_acquire));
}

std::optional<std::uint64_t> admitted(unsigned slot) {
  return parse_limit(down().gpu[slot].admit_plus_1.load(std::memory_order_acquire));
}

void note_current_context() {
  CUcontext context = nullptr;
  if (real::cuCtxGetCurrent(&context) == CUDA_SUCCESS && context) note_context(context);
}

void note_context(CUcontext context) {
  unsigned slot = 0;
  {
    const Locked locked(contexts_mutex);
    for (const Known& known : contexts)
      if (known.context == context) return;
    CUdevice device = 0;
    CUcontext before = nullptr;
    (void)real::cuCtxGetCurrent(&before);
    const bool switched = before != context && real::cuCtxPushCurrent_v2(context) == CUDA_SUCCESS;
    const CUresult asked = real::cuCtxGetDevice(&device);
    const bool gone = current_is_gone();
    if (switched) (void)real::cuCtxPopCurrent_v2(&context);
    if (asked != CUDA_SUCCESS || gone || device < 0 || device >= static_cast<int>(max_gpus)) return;
    slot = static_cast<unsigned>(device);
    if (!contexts.push({context, slot})) return;
    contexts_version.fetch_add(1, std::memory_order_release);
  }
  {
    const Locked locked(the_lanes_mutex);
    (void)the_lanes.push(
        {context, nullptr, slot});  // without memory for it the context synchronise still covers the lane
  }
  attach(slot);
}

void note_device(CUdevice device) {
  if (device >= 0 && device < static_cast<int>(max_gpus)) attach(static_cast<unsigned>(device));
}

void forget_context(CUcontext context) {
  {
    const Locked locked(the_lanes_mutex);
    for (std::size_t i = the_lanes.size(); i-- > 0;)
      if (the_lanes[i].context == context) the_lanes.erase(i);
  }
  const Locked locked(contexts_mutex);
  for (std::size_t i = contexts.size(); i-- > 0;)
    if (contexts[i].context == context) contexts.erase(i);
  contexts_version.fetch_add(1, std::memory_order_release);
}

// Only if the driver says that there is no such context: what was allocated in it is then forgotten.
bool gone(CUcontext context) {
  const CUresult pushed = real::cuCtxPushCurrent_v2(context);
  if (pushed != CUDA_SUCCESS)
    return pushed == CUDA_ERROR_INVALID_CONTEXT || pushed == CUDA_ERROR_CONTEXT_IS_DESTROYED ||
           pushed == CUDA_ERROR_INVALID_VALUE;
  const bool is = current_is_gone();
  (void)real::cuCtxPopCurrent_v2(&context);
  return is;
}

CUcontext working_context(unsigned slot) {
  const Locked locked(contexts_mutex);
  for (const Known& known : contexts)
    if (known.slot == slot) return known.context;
  return nullptr;
}

std::optional<unsigned> slot_of(CUcontext context) {
  const std::uint32_t version = contexts_version.load(std::memory_order_acquire);
  if (asked_last.context == context && asked_last.version == version) return asked_last.slot;
  note_context(context);
  const Locked locked(contexts_mutex);
  for (const Known& known : contexts)
    if (known.context == context) {
      asked_last = {context, known.slot, version};
      return known.slot;
    }
  return std::nullopt;
}

std::optional<unsigned> slot_of_current() {
  CUcontext context = nullptr;
  if (real::cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context) return std::nullopt;
  return slot_of(context);
}

void note_stream(CUstream stream) {
  CUcontext context = nullptr;
  if (real::cuStreamGetCtx(stream, &context) != CUDA_SUCCESS && real::cuCtxGetCurrent(&context) != CUDA_SUCCESS) return;
  const auto slot = slot_of(context);
  const Locked locked(the_lanes_mutex);
  (void)the_lanes.push({context, stream, slot.value_or(0)});
}

void forget_stream(CUstream stream) {
  const Locked locked(the_lanes_mutex);
  for (std::size_t i = the_lanes.size(); i-- > 0;)
    if (the_lanes[i].stream == stream) the_lanes.erase(i);
}

int captures_open() { return open_captures.load(std::memory_order_acquire); }
void capture_began() { open_captures.fetch_add(1, std::memory_order_acq_rel); }
void capture_ended() {
  int open = open_captures.load(std::memory_order_acquire);  // an end without a begin we saw must not go below zero
  while (open > 0 && !open_captures.compare_exchange_weak(open, open - 1)) {
  }
}

Mutex& lanes_mutex() { return the_lanes_mutex; }
const Vector<Lane>& lanes(const Locked&) { return the_lanes; }

void kick_link() {
  const std::int32_t thread = link::thread_id();
  if (thread) (void)::syscall(SYS_tgkill, owner_pid, thread, link::kick_signal);  // blocked there, read by its signalfd
}

void nudge_mover() { futex::wake_all(down().wake, futex::Scope::shared); }

void tell_wants(std::optional<unsigned> slot) {
  if (!slot) return kick_link();  // held back by missing memory: needed > resident says it
  up().gpu[*slot].wants.fetch_add(1, std::memory_order_release);
  kick_link();
}

void tell_interrupted(unsigned slot) {
  struct sigaction term {
  }, interrupt{};
  const bool handled =
      (::sigaction(SIGTERM, nullptr, &term) == 0 && term.sa_handler != SIG_DFL && term.sa_handler != SIG_IGN) ||
      (::sigaction(SIGINT, nullptr, &interrupt) == 0 && interrupt.sa_handler != SIG_DFL &&
       interrupt.sa_handler != SIG_IGN);
  if (handled) tell_leaving(slot);  // a program that would not act on the signal gains nothing from a turn
}

void tell_leaving(unsigned slot) {
  up().gpu[slot].interrupted.fetch_add(1, std::memory_order_release);
  kick_link();
}

void tell_passed(bool met_closed_gate) {
  const std::uint64_t now = monotonic_ns();
  for (unsigned slot = 0; slot < max_gpus; ++slot) {
    if (!attached(slot)) continue;
    std::uint64_t generation = down().gpu[slot].gate.load(std::memory_order_acquire) >> 2;
    std::uint64_t before = passed_generation.load(std::memory_order_relaxed);
    if (before == generation && !met_closed_gate) continue;
    if (before != generation && passed_generation.compare_exchange_strong(before, generation))
      up().gpu[slot].first_pass_ns.store(now, std::memory_order_release);
  }
  kick_link();
}

void publish(Word& word, std::uint64_t value) { word.store(value, std::memory_order_release); }

void map_pages(int down_fd, int up_fd) {
  auto* const down_at = page_base;
  auto* const up_at = reinterpret_cast<std::uint8_t*>(&up());
  // Up first: when the broker's words become visible, our answers go where the broker looks.
  if (::mmap(up_at, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, up_fd, 0) == MAP_FAILED) return;
  ledger::publish_all();
  room::publish_all();
  // Raised on both sides of the change: whoever has read the number and then words of the other page finds it changed.
  sessions.fetch_add(1, std::memory_order_acq_rel);
  (void)::mmap(down_at, page_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, down_fd, 0);  // failing leaves "unmanaged"
  passed_generation.store(0, std::memory_order_relaxed);
  sessions.fetch_add(1, std::memory_order_acq_rel);
}

void release_gates() {
  if (!page_base) return;
  (void)map_zeroes(page_base, PROT_READ | PROT_WRITE);  // waiters look again within 100 ms
}

void handshake_over() {
  if (page_base) futex::wake_all(down().wake, futex::Scope::shared);
}

}  // namespace lull::process

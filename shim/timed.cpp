#include "shim/timed.h"

#include <atomic>
#include <ctime>

#include "shim/clock.h"
#include "shim/gate.h"
#include "shim/lock.h"
#include "shim/make.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/range_tree.h"

namespace lull::timed {
namespace {

constexpr std::uint64_t longest_ns = 20'000'000;

std::atomic<std::uint64_t> opened_ns{0};  // of the open pair; 0: none
std::atomic<CUevent> opened_by{nullptr};
std::atomic<std::uint64_t> final_word[max_gpus];

// Which events are timed. Few programs have any, and records must stay cheap: a count for each hash tells most of the
// others apart without a lock. A mistake costs a pair that nobody opened.
struct Timed {
  CUevent event;
  Range range() const { return {reinterpret_cast<std::uint64_t>(event), 1}; }
};
Mutex mutex;
RangeTree<Timed> events;
constexpr unsigned counts = 1024;
std::atomic<std::uint32_t> count_of[counts];

std::atomic<std::uint32_t>& count(CUevent event) {
  return count_of[(reinterpret_cast<std::uintptr_t>(event) >> 4) * 0x9e3779b97f4a7c15u >> 54];
}

}  // namespace

bool pair_open() {
  const std::uint64_t opened = opened_ns.load(std::memory_order_acquire);
  return opened && monotonic_ns() - opened < longest_ns;
}

bool may_pass(unsigned slot, std::uint64_t gate_word) {
  return on(Protection::timed_pairs) && pair_open() && final_word[slot].load(std::memory_order_seq_cst) != gate_word;
}

void let_pair_end(unsigned slot, std::uint64_t gate_word) {
  if (final_word[slot].load(std::memory_order_relaxed) == gate_word) return;
  const std::uint64_t latest = monotonic_ns() + longest_ns;
  while (on(Protection::timed_pairs) && pair_open() && monotonic_ns() < latest &&
         process::down().gpu[slot].gate.load(std::memory_order_acquire) == gate_word) {
    const timespec pause{0, 100'000};
    (void)::nanosleep(&pause, nullptr);
  }
  final_word[slot].store(gate_word, std::memory_order_seq_cst);
}

CUresult create(CUevent* event, unsigned flags) {
  const CUresult result = real::cuEventCreate(event, flags);
  if (result != CUDA_SUCCESS || (flags & CU_EVENT_DISABLE_TIMING) || !gate::active_now()) return result;
  const Locked locked(mutex);
  Timed* timed = make<Timed>();
  if (!timed) return result;  // not known as timed: a pause may fall into its pair
  timed->event = *event;
  if (events.add(timed))
    count(*event).fetch_add(1, std::memory_order_relaxed);
  else
    lull::destroy(timed);
  return result;
}

CUresult destroy(CUresult result, CUevent event) {
  if (result != CUDA_SUCCESS || !gate::active_now() || !is_timed(event)) return result;
  const Locked locked(mutex);
  Timed* timed = events.at(reinterpret_cast<std::uint64_t>(event));
  if (!timed) return result;
  events.remove(timed);
  lull::destroy(timed);
  count(event).fetch_sub(1, std::memory_order_relaxed);
  return result;
}

bool is_timed(CUevent event) { return count(event).load(std::memory_order_relaxed) != 0; }

void recorded(CUevent event) {
  if (!gate::active_now()) return;
  const bool second = pair_open() && opened_by.load(std::memory_order_relaxed) != event;
  opened_by.store(event, std::memory_order_relaxed);
  opened_ns.store(second ? 0 : monotonic_ns(), std::memory_order_release);
}

}  // namespace lull::timed

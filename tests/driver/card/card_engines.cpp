// The compute engine of a card, which all processes on it take in turns.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "tests/driver/card/card_file.h"
#include "tests/driver/card/clock.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t slice_ns = 100'000'000;  // a kernel longer than this no longer excludes others
constexpr long look_again_ns = 2'000'000;        // a holder that died wakes nobody

void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  const timespec limit{0, look_again_ns};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, value, &limit, nullptr, 0);
}

void wake_all(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

// Whoever had the engine last lets another process that waits go first: that makes it turns.
void Card::let_others_first() {
  ComputeEngine& engine = file_->compute;
  std::uint32_t waiter = engine.waiter.load(std::memory_order_relaxed);
  if (waiter == 0 || waiter == slot_ + 1 || engine.last.load(std::memory_order_relaxed) != slot_ + 1) return;
  if (!alive(file_->slots[waiter - 1])) {
    (void)engine.waiter.compare_exchange_strong(waiter, 0);
    return;
  }
  if (engine.holder.load(std::memory_order_relaxed) == 0) wait_while(engine.holder, 0);
}

bool Card::begin_compute() {
  ComputeEngine& engine = file_->compute;
  auto me = static_cast<std::uint32_t>(slot_ + 1);
  let_others_first();
  while (true) {
    std::uint32_t holder = 0;
    if (engine.holder.compare_exchange_strong(holder, me, std::memory_order_acquire)) break;  // pairs with end_compute
    const std::uint64_t since = engine.since_ns.load(std::memory_order_relaxed), now = now_ns();
    if (now > since && now - since > slice_ns) return false;
    engine.waiter.store(me, std::memory_order_relaxed);
    wait_while(engine.holder, holder);
    if (!alive(file_->slots[holder - 1])) (void)engine.holder.compare_exchange_strong(holder, 0);
  }
  engine.since_ns.store(now_ns(), std::memory_order_relaxed);
  engine.last.store(me, std::memory_order_relaxed);
  // Whoever let us go first sleeps on the word too. With no waiter nobody does; a lost wake costs one look_again_ns.
  if (engine.waiter.load(std::memory_order_relaxed) != 0) wake_all(engine.holder);
  (void)engine.waiter.compare_exchange_strong(me, 0);
  return true;
}

bool Card::compute_is_wanted() const {
  const std::uint32_t waiter = file_->compute.waiter.load(std::memory_order_relaxed);
  return waiter != 0 && waiter != slot_ + 1;
}

void Card::renew_compute() { file_->compute.since_ns.store(now_ns(), std::memory_order_relaxed); }

void Card::end_compute() {
  const std::uint64_t since = file_->compute.since_ns.load(std::memory_order_relaxed), now = now_ns();
  if (now > since) file_->compute.busy_ns.fetch_add(now - since, std::memory_order_relaxed);
  file_->compute.since_ns.store(UINT64_MAX, std::memory_order_relaxed);  // nobody holds it too long
  file_->compute.holder.store(0, std::memory_order_release);             // seen by the next begin_compute
  if (file_->compute.waiter.load(std::memory_order_relaxed) != 0) wake_all(file_->compute.holder);
}

}  // namespace lull::sim

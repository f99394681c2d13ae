// The copy engines of a card: queues that all processes on it share.
#include <time.h>

#include <algorithm>

#include "tests/driver/card/card_file.h"
#include "tests/driver/card/clock.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t forgotten_ns = 10'000'000'000;  // whoever has not asked by then has died
constexpr long look_again_ns = 1'000'000;

TransferQueue& queue_of(CardFile& file, Engine engine) { return file.engines[static_cast<std::size_t>(engine)]; }

// The engines of the two directions share the link; the third is alone.
TransferQueue* beside(CardFile& file, Engine engine) {
  if (engine == Engine::within_device) return nullptr;
  return &queue_of(file, engine == Engine::to_device ? Engine::to_host : Engine::to_device);
}

void mark_over(TransferQueue& queue, std::uint64_t now) {
  for (Transfer& transfer : queue.all()) {
    if (transfer.over || transfer.end_ns > now) continue;
    transfer.over = true;
    queue.busy_ns += transfer.end_ns - transfer.start_ns;
  }
}

void forget_old(TransferQueue& queue, std::uint64_t now) {
  std::uint32_t old = 0;
  while (queue.count - old > TransferQueue::kept && queue.transfers[old].over &&
         (queue.collected[old] || queue.transfers[old].end_ns + forgotten_ns < now))
    ++old;
  if (old == 0) return;
  std::copy(queue.transfers.begin() + old, queue.transfers.begin() + queue.count, queue.transfers.begin());
  std::copy(queue.collected.begin() + old, queue.collected.begin() + queue.count, queue.collected.begin());
  queue.count -= old;
  queue.first_id += old;
}

}  // namespace

void Card::settle(Engine engine) {
  TransferQueue& queue = queue_of(*file_, engine);
  TransferQueue* const other = beside(*file_, engine);
  place(queue.all(), other ? other->all() : std::span<Transfer>());
  const std::uint64_t now = now_ns();
  mark_over(queue, now);
  if (other) mark_over(*other, now);
  // Not after every transfer: the rest would move each time.
  if (queue.count > 2 * TransferQueue::kept) forget_old(queue, now);
}

bool Card::try_queue(Engine engine, const Transfer& transfer, QueuedTransfer& out) {
  const Locked locked(*file_);
  settle(engine);
  TransferQueue& queue = queue_of(*file_, engine);
  if (queue.count == TransferQueue::most) return false;
  queue.transfers[queue.count] = transfer;
  queue.collected[queue.count] = 0;
  out = {engine, queue.first_id + queue.count};
  ++queue.count;
  return true;
}

QueuedTransfer Card::queue_transfer(Engine engine, const Transfer& transfer) {
  QueuedTransfer ticket{};
  while (!try_queue(engine, transfer, ticket)) {
    const timespec pause{0, look_again_ns};
    (void)::nanosleep(&pause, nullptr);  // hundreds are queued: one will soon be over
  }
  return ticket;
}

Span Card::span_of(const QueuedTransfer& ticket) {
  const Locked locked(*file_);
  settle(ticket.engine);
  TransferQueue& queue = queue_of(*file_, ticket.engine);
  if (ticket.id < queue.first_id) return {};  // long over, and forgotten
  const auto index = static_cast<std::size_t>(ticket.id - queue.first_id);
  const Transfer& transfer = queue.transfers[index];
  if (transfer.over) queue.collected[index] = 1;
  return {transfer.start_ns, transfer.end_ns};
}

Busy Card::busy() {
  const Locked locked(*file_);
  settle(Engine::to_device);
  const ComputeEngine& compute = file_->compute;
  std::uint64_t compute_ns = compute.busy_ns.load(std::memory_order_relaxed);
  const std::uint64_t since = compute.since_ns.load(std::memory_order_relaxed), now = now_ns();
  if (compute.holder.load(std::memory_order_relaxed) != 0 && now > since) compute_ns += now - since;
  return {compute_ns, std::max(queue_of(*file_, Engine::to_device).busy_ns, queue_of(*file_, Engine::to_host).busy_ns)};
}

}  // namespace lull::sim

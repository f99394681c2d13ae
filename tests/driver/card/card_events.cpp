// Events that several processes use.
//
// A record has a number; the newest one is the event's state. Of the records that are not reached yet the card keeps
// which process is to reach them: what a process that died would have reached counts as reached, as its work is gone.
// An event goes with its maker, by its end or by the maker's; who still asks for it then finds all reached.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "tests/driver/card/card_file.h"

namespace lull::sim {
namespace {

constexpr long look_again_ns = 10'000'000;  // who died wakes nobody

void wake(SharedEvent& event) {
  event.changes.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&event.changes), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Of more pending records than there is room for the oldest counts as reached.
SharedEvent::Record& room_in(SharedEvent& event) {
  return *std::ranges::min_element(event.pending, {}, &SharedEvent::Record::number);
}

}  // namespace

// Locked. Null: it is gone.
SharedEvent* Card::event(const EventId& id) const {
  if (id.index >= card_events || id.serial == 0 || file_->events[id.index].serial != id.serial) return nullptr;
  return &file_->events[id.index];
}

void Card::drop_events_of(std::size_t slot) {
  for (SharedEvent& event : file_->events) {
    if (event.serial == 0) continue;
    for (auto& record : event.pending) {
      if (record.slot == slot + 1) record = {};
    }
    if (event.owner == slot + 1) event.serial = 0;
    wake(event);
  }
}

std::optional<EventId> Card::make_event() {
  const Locked locked(*file_);
  give_back_the_dead();
  const auto unused = std::ranges::find(file_->events, 0u, &SharedEvent::serial);
  if (unused == file_->events.end()) return {};
  unused->latest = 0;
  unused->owner = static_cast<std::uint32_t>(slot_ + 1);
  unused->pending = {};
  unused->serial = ++file_->last_share;
  return EventId{static_cast<std::uint32_t>(unused - file_->events.begin()), unused->serial};
}

void Card::end_event(const EventId& id) {
  const Locked locked(*file_);
  SharedEvent* const shared = event(id);
  if (!shared) return;
  shared->serial = 0;
  wake(*shared);
}

bool Card::has_event(const EventId& id) {
  const Locked locked(*file_);
  give_back_the_dead();
  return event(id) != nullptr;
}

std::uint64_t Card::record_event(const EventId& id) {
  const Locked locked(*file_);
  SharedEvent* const shared = event(id);
  if (!shared) return 0;
  room_in(*shared) = {++shared->latest, static_cast<std::uint32_t>(slot_ + 1), 0};
  return shared->latest;
}

void Card::reach_event(const EventId& id, std::uint64_t number) {
  const Locked locked(*file_);
  SharedEvent* const shared = event(id);
  if (!shared) return;
  const auto pending = std::ranges::find(shared->pending, number, &SharedEvent::Record::number);
  if (pending != shared->pending.end()) *pending = {};
  wake(*shared);
}

std::uint64_t Card::latest_record(const EventId& id) {
  const Locked locked(*file_);
  const SharedEvent* const shared = event(id);
  return shared ? shared->latest : 0;
}

bool Card::record_reached(const EventId& id, std::uint64_t number) {
  const Locked locked(*file_);
  SharedEvent* const shared = event(id);
  if (!shared) return true;
  const auto pending = std::ranges::find(shared->pending, number, &SharedEvent::Record::number);
  if (pending == shared->pending.end()) return true;
  if (alive(file_->slots[pending->slot - 1])) return false;
  give_back_the_dead();
  return true;
}

void Card::wait_for_record(const EventId& id, std::uint64_t number) {
  if (id.index >= card_events) return;
  auto& changes = file_->events[id.index].changes;
  const std::uint32_t seen = changes.load(std::memory_order_acquire);  // pairs with wake
  if (record_reached(id, number)) return;
  const timespec limit{0, look_again_ns};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&changes), FUTEX_WAIT, seen, &limit, nullptr, 0);
}

}  // namespace lull::sim

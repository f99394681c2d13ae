#include "tests/driver/card/card.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/driver/card/card_file.h"

namespace lull::sim {
Locked::Locked(CardFile& file) : file_(file) {
  if (::pthread_mutex_lock(&file.mutex) == EOWNERDEAD) {
    recount();
    ::pthread_mutex_consistent(&file.mutex);
  }
}

Locked::~Locked() { ::pthread_mutex_unlock(&file_.mutex); }

void Locked::recount() {
  for (Slot& slot : file_.slots) slot.granules = 0;
  for (Share& share : file_.used_shares()) share.granules = 0;
  for (std::uint32_t i = 0; i < file_.granules; ++i) {
    const auto owner = file_.owners()[i];
    if (owner & shared_owner)
      ++file_.shares[owner & (shared_owner - 1u)].granules;
    else if (owner)
      ++file_.slots[owner - 1u].granules;
  }
}

std::uint64_t Card::used_bytes() const {
  std::uint64_t used = 0;
  for (const Slot& slot : file_->slots) used += slot.native_bytes + slot.withheld_bytes + slot.granules * granule_bytes;
  for (const Share& share : file_->used_shares()) used += share.granules * granule_bytes;
  return used;
}

void Card::give_back_the_dead() {
  for (std::size_t s = 0; s < card_slots; ++s) {
    Slot& slot = file_->slots[s];
    if (slot.pid == 0 || alive(slot)) continue;
    for (std::uint32_t i = 0; slot.granules && i < file_->granules; ++i) {
      if (file_->owners()[i] == s + 1) file_->owners()[i] = 0;
    }
    drop_holder(s);
    drop_events_of(s);
    slot = {};
    // The slot may be somebody else's next, and must not seem to hold the engine then.
    for (auto* word : {&file_->compute.holder, &file_->compute.waiter, &file_->compute.last}) {
      auto dead = static_cast<std::uint32_t>(s + 1);
      (void)word->compare_exchange_strong(dead, 0);
    }
  }
  free_unheld_shares();
}

bool Card::take_slot() {
  const Locked locked(*file_);
  give_back_the_dead();
  const auto free = std::find_if(file_->slots.begin(), file_->slots.end(), [](const Slot& s) { return s.pid == 0; });
  if (free == file_->slots.end()) return false;
  *free = {.pid = ::getpid(),
           .reserved = 0,
           .start_time = start_time_of(::getpid()),
           .native_bytes = 0,
           .withheld_bytes = 0,
           .granules = 0};
  slot_ = static_cast<std::size_t>(free - file_->slots.begin());
  return true;
}

bool Card::take(std::size_t bytes, std::vector<Extent>& out) {
  const std::uint64_t wanted = (bytes + granule_bytes - 1) / granule_bytes;
  if (wanted > file_->granules) return false;
  out.reserve(out.size() + wanted);  // an exception must not meet the mutex
  const Locked locked(*file_);
  if (used_bytes() + wanted * granule_bytes > file_->bytes) give_back_the_dead();
  if (used_bytes() + wanted * granule_bytes > file_->bytes) return false;
  std::uint16_t* owners = file_->owners();
  std::uint64_t found = 0;
  std::uint32_t at = file_->next_granule;
  for (std::uint32_t seen = 0; found < wanted && seen < file_->granules; ++seen, at = (at + 1) % file_->granules) {
    if (owners[at] != 0) continue;
    owners[at] = static_cast<std::uint16_t>(slot_ + 1);
    ++found;
    const bool adjoins = !out.empty() && out.back().first + out.back().count == at;
    if (adjoins)
      ++out.back().count;
    else
      out.push_back({at, 1});
  }
  file_->next_granule = at;
  std::ranges::sort(out, {}, &Extent::first);  // a share of it is put together again in this order
  file_->slots[slot_].granules += found;
  return true;  // used bytes within the capacity: there were enough free granules
}

void Card::give(std::span<const Extent> extents) {
  const Locked locked(*file_);
  for (const Extent& extent : extents) {
    std::fill_n(file_->owners() + extent.first, extent.count, std::uint16_t{0});
    file_->slots[slot_].granules -= extent.count;
  }
}

bool Card::charge(std::size_t bytes) {
  const Locked locked(*file_);
  if (used_bytes() + bytes > file_->bytes) give_back_the_dead();
  if (used_bytes() + bytes > file_->bytes) return false;
  file_->slots[slot_].native_bytes += bytes;
  return true;
}

void Card::refund(std::size_t bytes) {
  const Locked locked(*file_);
  file_->slots[slot_].native_bytes -= std::min<std::uint64_t>(bytes, file_->slots[slot_].native_bytes);
}

bool Card::withhold(std::uint64_t bytes) {
  const Locked locked(*file_);
  give_back_the_dead();
  Slot& slot = file_->slots[slot_];
  if (bytes > slot.withheld_bytes && used_bytes() + (bytes - slot.withheld_bytes) > file_->bytes) return false;
  slot.withheld_bytes = bytes;
  return true;
}

MemoryInfo Card::memory() {
  const Locked locked(*file_);
  give_back_the_dead();
  return {file_->bytes, file_->bytes - used_bytes()};
}

std::vector<Use> Card::users() {
  std::vector<Use> uses;
  uses.reserve(card_slots);
  std::array<std::uint64_t, card_slots> shared{};  // a share counts for one of its holders
  const Locked locked(*file_);
  give_back_the_dead();
  for (const Share& share : file_->used_shares()) {
    const int holder = share.serial ? first_holder(share) : -1;
    if (holder >= 0) shared[static_cast<std::size_t>(holder)] += share.granules * granule_bytes;
  }
  for (std::size_t s = 0; s < card_slots; ++s) {
    const Slot& slot = file_->slots[s];
    const std::uint64_t bytes = slot.native_bytes + slot.granules * granule_bytes + shared[s];
    if (slot.pid != 0 && bytes != 0) uses.push_back({slot.pid, bytes});
  }
  return uses;
}

void Card::uuid(std::uint8_t out[16]) const { std::memcpy(out, file_->uuid.data(), 16); }

}  // namespace lull::sim

// broker/policy_seat.cpp: who has a place on the card beside the holder, and whose memory goes for it.
//
// Seats are given in this order, as long as what the client holds when whole fits beside those before it:
//   the holder; others of its level that want to run; then those with all their memory there, then the rest, then
//   the other stages of the holder's pipeline,
//   each by class and by how lately they had the card. In the last three groups the first that does not fit ends it, so
//   that memory leaves in the opposite order: other stages first, lowest class first, oldest lease first.
// Memory is taken from others only for the first two groups, and only what they lack. A gang sits together. Who is
// paused by its owner has no place, and leaves before all others; at once, if that is what the owner wants (release).
#include <compare>

#include "broker/policy_work.h"

namespace lull::policy {
namespace {

enum class Group : std::uint8_t { holder, running, present, absent, stage };

Group group_of(const Work& w, const Item& i) {
  if (w.has_card(i)) return Group::holder;
  if (same_pipeline(w, i)) return Group::stage;
  if (w.holder && i.level != Level::none && i.level >= w.holder->level) return Group::running;
  return all_whole(i) ? Group::present : Group::absent;
}

// Who has the smaller one sits first. Sorting these and not the clients is what keeps a crowd cheap.
struct Place {
  std::uint64_t group_and_rank, time;
  std::uint32_t index;  // of the gang's lead, then its own: a gang sits side by side
  auto operator<=>(const Place&) const = default;
};

Place place_of(const Work& w, const Item& i) {
  const Group group = group_of(w, i);
  const bool running = group == Group::running;
  const auto high = static_cast<std::uint64_t>(running ? static_cast<int>(i.level) : static_cast<int>(i.c.klass));
  const std::uint64_t rank = (0xff - high) << 1 | (running && !served(i));
  return {static_cast<std::uint64_t>(group) << 32 | rank, running ? i.since : ~i.last_lease(),
          i.lead->index * static_cast<std::uint32_t>(max_clients) + i.index};
}

void order_seats(Work& w) {
  std::array<Place, max_clients> places;  // uninitialised beyond count
  for (std::size_t n = 0; n < w.count; ++n) places[n] = place_of(w, w.storage[w.order[n]]);
  if (std::is_sorted(places.begin(), places.begin() + w.count)) return;
  std::sort(places.begin(), places.begin() + w.count);
  for (std::size_t n = 0; n < w.count; ++n) w.order[n] = static_cast<std::uint16_t>(places[n].index % max_clients);
}

// Beside what it holds already if it cannot be moved: that is taken off the room for all.
Signed cost(const Item& i) {
  Signed sum = 0;
  for (const Item* part = i.lead; part; part = part->next)
    sum += static_cast<Signed>(part->goal + part->lack - (part->fixed ? part->c.resident : 0));
  return sum;
}

bool needs_nothing(const Item& i) {
  return all_of(i, [](const Item& part) { return part.goal + part.lack == 0; });
}

void give_seats(Work& w) {
  Signed room = w.room;
  for (const Item& i : w.items()) room -= i.fixed ? static_cast<Signed>(i.c.resident) : 0;
  bool full = false;
  for (std::size_t n = 0; n < w.count; ++n) {
    Item& i = w.storage[w.order[n]];
    if (const Item* before = n > 0 ? &w.storage[w.order[n - 1]] : nullptr; before && before->lead == i.lead) {
      i.seated = before->seated, i.entitled = before->entitled;
      continue;
    }
    i.seated = i.entitled = false;
    const Group group = group_of(w, i);
    const bool by_turn = group <= Group::running, fits = cost(i) <= room;
    if (kept_off(i)) continue;
    i.seated = !i.too_big() && (group == Group::holder || needs_nothing(i) || ((by_turn || !full) && fits));
    i.entitled = i.seated && by_turn;
    if (i.seated)
      room -= cost(i);
    else if (!by_turn)
      full = true;
  }
}

bool leaves_before(const Work& w, const Item& a, const Item& b) {
  if (kept_off(a) != kept_off(b)) return kept_off(a);
  if (same_pipeline(w, a) != same_pipeline(w, b)) return same_pipeline(w, a);
  if (a.c.klass != b.c.klass) return a.c.klass < b.c.klass;
  if (a.last_lease() != b.last_lease()) return a.last_lease() < b.last_lease();
  return a.index < b.index;
}

// What the entitled lack when all that was sent before has been done.
Signed deficit(Work& w) {
  Signed over = -w.room;
  bool lacking = w.gpu.kept_free > 0;  // memory of other programs evicts nobody by itself; what they are promised does
  for (const Item& i : w.items()) {
    over += static_cast<Signed>(i.entitled ? i.goal + i.lack : i.settled);
    lacking = lacking || (i.entitled && !i.whole);
  }
  return lacking ? over : 0;
}

Item* next_victim(Work& w) {
  Item* victim = nullptr;
  for (Item& i : w.items()) {
    const bool able = !i.seated && !i.fixed && i.evict == 0 && i.settled > 0;
    if (able && (!victim || leaves_before(w, i, *victim))) victim = &i;
  }
  return victim;
}

}  // namespace

void seat(Work& w) {
  order_seats(w);
  give_seats(w);
  Signed needed = 0;
  for (Item& i : w.items()) {
    i.evict = kept_off(i) && i.order == Order::release && !i.fixed ? i.settled : 0;
    needed -= static_cast<Signed>(i.evict);
  }
  needed += deficit(w);
  while (needed > 0) {
    Item* victim = next_victim(w);
    if (!victim) return;
    victim->evict = std::min(victim->settled, static_cast<Bytes>(needed));
    needed -= static_cast<Signed>(victim->evict);
  }
}

}  // namespace lull::policy

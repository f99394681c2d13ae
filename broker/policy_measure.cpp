// broker/policy_measure.cpp: what is true of each client: whole, drained, too big; and how much of the card can move.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

// Sizes come from strangers; beyond this they are nonsense, and below it sums of them cannot overflow.
constexpr Bytes largest_size = Bytes{1} << 50;
constexpr Time answers_within = 10 * second;  // a shim looks every 100 ms; one that is silent this long is stopped

Signed size(Bytes bytes) { return static_cast<Signed>(std::min(bytes, largest_size)); }

void tame(Client& c) {
  for (Bytes* size :
       {&c.resident, &c.needed, &c.native, &c.quota_high, &c.native_wanted, &c.native_given, &c.native_floor})
    *size = std::min(*size, largest_size);
}

bool answers_closed_gate(const Client& c) {
  return c.gate.state == GateState::closed && c.seen_gate == c.gate && c.phase.generation == c.gate.generation;
}

// A stopped program cannot use the card, whatever it asked for before. Once it has missed an earlier word it is not
// given another chance before it answers.
bool absent(Work& w, const Client& c) {
  const std::uint64_t missed = c.gate.generation - std::min(c.gate.generation, c.seen_gate.generation);
  if (missed == 0) return false;
  return (missed > 1 && c.gate.state == GateState::closed) || w.passed(c.gate_since, answers_within);
}

bool cannot_copy(const Client& c) {
  return answers_closed_gate(c) && c.phase.phase == Phase::overdue &&
         (c.phase.reason == Overdue::no_backing || c.phase.reason == Overdue::copy_failed);
}

// Somebody who is interactive thinks now and then. A computation of many minutes is training, whatever it was called.
Class counts_as(Work& w, const Item& i) {
  const Client& c = i.c;
  if (i.own_class != Class::interactive || c.busy_since == 0 || c.loading) return i.own_class;
  const bool busy = c.wants || !w.passed(c.last_submission, w.rules.min_hold);
  return busy && w.passed(c.busy_since, w.rules.computing_max) ? Class::training : i.own_class;
}

void measure(Work& w, Item& i) {
  const Client& c = i.c;
  const Phase phase = c.phase.phase;
  i.c.klass = counts_as(w, i);
  i.quota.reset();
  i.gives_native = false;
  i.goal = std::max(c.needed, c.resident);
  i.whole = c.resident >= c.needed;
  // Memory moves only once it has drained, and what has moved stays drained while the gate stays closed.
  i.drained = answers_closed_gate(c) && (phase == Phase::drained || phase == Phase::moving || phase == Phase::ready);
  i.let_go = c.overdue_until != 0 && !w.passed(c.overdue_until, 0);
  i.absent = absent(w, c);
  i.order = c.order != Order::none && !w.passed(c.order_until, 0) ? c.order : Order::none;
  i.fixed = c.unevictable || i.let_go || cannot_copy(c);
  i.settled = i.fixed ? c.resident : std::min(c.quota.value_or(c.resident), c.resident);
}

// Which of the things that take room away is to blame: the first without which it would fit. What other programs take
// evicts nobody who is whole; what they are promised does, and who wants room that is promised waits.
Reason misfit_of(const Work& w, Signed needed, bool whole, Signed room, Signed over_reserve) {
  if (needed <= room || (whole && w.gpu.kept_free == 0)) return Reason::none;
  if (needed <= (room += size(w.gpu.kept_free))) return Reason::kept_free;
  if (whole) return Reason::none;
  if (needed <= (room += size(w.gpu.foreign))) return Reason::blocked_by_foreign;
  return needed <= room + over_reserve ? Reason::over_reserve : Reason::does_not_fit;
}

// Room is taken from others for it; so what cannot be seen to be used is believed up to a share of the card.
bool believable(const Item& i, const Gpu& gpu) {
  return native_charge(i.c, gpu) + i.lack - std::max(gpu.native_reserve, i.c.native) <= gpu.capacity / 16;
}

// `most`: what it may hold by the side of what no one can move. A restore that finds no memory although it may have it
// asks for room like that, too; when it cannot be given, the client does not fit. Room that is only kept free for
// others is not refused: its time ends.
void measure_native(const Work& w, Item& i, Signed most, Signed over_reserve) {
  const Client& c = i.c;
  const bool restores = !i.whole;
  i.lack = c.native_wanted - std::min(c.native_wanted, c.native_given);
  i.refused = i.lack > 0 && (!believable(i, w.gpu) || size(c.needed + i.lack) > most + size(w.gpu.kept_free));
  if (i.refused) i.lack = 0;
  i.misfit = misfit_of(w, size(c.needed + i.lack), i.whole, most, over_reserve);
  const bool found_none = c.phase.phase == Phase::overdue && c.phase.reason == Overdue::no_device_memory;
  if (restores && i.refused && found_none) i.misfit = Reason::does_not_fit;
  i.whole = i.whole && i.lack == 0;
}

// A gang fits together or not at all, and one that does not answer keeps the others from wanting anything. What is said
// to one of it is said to all.
void measure_gang(const Work& w, Item& lead, Signed room, Signed over_reserve) {
  Signed needed = 0;
  Reason misfit = Reason::none;
  bool absent = false;
  Class klass = lead.c.klass;
  Order order = Order::none;
  for (const Item* part = &lead; part; part = part->next) {
    needed += size(part->c.needed + part->lack);
    if (part->c.unevictable) room += size(part->c.resident);
    if (part->too_big()) misfit = part->misfit;
    absent = absent || part->absent;
    klass = std::max(klass, part->c.klass);
    order = std::max(order, part->order);
  }
  if (misfit == Reason::none) misfit = misfit_of(w, needed, all_whole(lead), room, over_reserve);
  for (Item* part = &lead; part; part = part->next)
    part->misfit = misfit, part->absent = absent, part->c.klass = klass, part->order = order;
}

}  // namespace

Work::Work(const State& state, Time at) : gpu(state.gpu), rules(state.rules), now(at) {
  count = std::min(state.clients.size(), max_clients);
  for (std::size_t n = 0; n < count; ++n) {
    // Written once: with a thousand clients this copy is a good part of the whole.
    Item* item = ::new (&storage[n]) Item{.c = state.clients[n], .index = static_cast<std::uint32_t>(n)};
    tame(item->c);
    item->own_class = item->c.klass;
    item->lead = item->c.gang != 0 ? nullptr : item;
    gangs = gangs || item->c.gang != 0;
    order[n] = static_cast<std::uint16_t>(n);
  }
  find_gangs(*this);
}

void measure(Work& w) {
  w.room = size(w.gpu.capacity) - size(w.gpu.headroom) - size(w.gpu.foreign) - size(w.gpu.kept_free);
  w.next = never;
  w.holder = nullptr;
  Signed held = 0, pinned = 0, over = 0;
  for (Item& i : w.items()) {
    measure(w, i);
    const Bytes native = native_charge(i.c, w.gpu);
    w.room -= size(native);
    over += size(native - w.gpu.native_reserve);
    held += size(i.held());
    if (i.c.unevictable) pinned += size(i.c.resident);
    if (i.lead == &i && i.holds()) w.holder = &i;
  }
  w.free = w.room - held;
  for (Item& i : w.items()) {
    const Signed own = i.c.unevictable ? size(i.c.resident) : 0;
    measure_native(w, i, w.room - pinned + own, over);
  }
  if (!w.gangs) return;
  for (Item& i : w.items())
    if (i.lead == &i && i.next) measure_gang(w, i, w.room - pinned, over);
  share_lease(w);
}

}  // namespace lull::policy

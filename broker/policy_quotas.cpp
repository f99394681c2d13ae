// broker/policy_quotas.cpp: how much memory each client may hold.
//
// Free memory is what no charge covers, and charges fall only when a client has answered; so what is given here can
// never be more than what has really left. One client is filled at a time, in the order of seats. While it lacks
// memory, what others may hold without holding it is taken back, which needs no drain; when nobody lacks any, those
// who run get headroom.
#include "broker/policy_work.h"

namespace lull::policy {
namespace {

void set_quota(Work& w, Item& i, Bytes quota) {
  const Bytes before = std::max(i.held(), i.quota.value_or(0));
  w.free -= static_cast<Signed>(std::max(before, quota) - before);
  i.quota = quota;
}

Bytes can_hold(const Work& w, const Item& i) {
  return std::max(i.held(), i.quota.value_or(0)) + static_cast<Bytes>(std::max<Signed>(w.free, 0));
}

// As much as there is; small sums are left until they make a chunk or the rest.
void give(Work& w, Item& i) {
  const Bytes quota = std::min(i.goal, can_hold(w, i));
  const Bytes before = i.quota_or_resident();
  if (quota > before && (quota == i.goal || quota - before >= w.gpu.chunk)) set_quota(w, i, quota);
}

bool others_fill(Work& w, const Item& than) {
  return std::any_of(w.items().begin(), w.items().end(), [&](const Item& i) { return &i != &than && fills(w, i); });
}

// A holder whose gate is closed for a moment keeps what it has been given.
bool runs(const Work& w, const Item& i) { return i.open || w.has_card(i); }

// Whether this client is to be brought nearer to its goal, if there is memory.
bool hungry(const Work& w, const Item& i) {
  if (i.quota_or_resident() >= i.goal || i.too_big()) return false;
  if (i.entitled) return runs(w, i);
  return i.open && can_hold(w, i) >= i.goal;
}

// True: it lacks no room for native memory any more.
bool give_native(Work& w, Item& i) {
  if (i.lack == 0) return true;
  if (!runs(w, i) || w.free < static_cast<Signed>(i.lack)) return false;
  w.free -= static_cast<Signed>(i.lack);
  i.gives_native = true;
  return true;
}

struct Fill {
  Item* lacking = nullptr;  // for it the others give back what they do not use
  bool finished = true;     // nobody lacks anything
};

Fill fill_in_order(Work& w) {
  bool filler_ahead = false;
  for (std::size_t n = 0; n < w.count; ++n) {
    Item& i = w.storage[w.order[n]];
    if (!give_native(w, i) && i.entitled && runs(w, i)) return {filler_ahead ? nullptr : &i, false};
    if (hungry(w, i)) {
      if (filler_ahead) return {nullptr, false};
      if (others_fill(w, i)) return {&i, false};
      give(w, i);
      if (i.quota_or_resident() < i.goal) return {&i, false};
    }
    filler_ahead = filler_ahead || (runs(w, i) && fills(w, i));
  }
  return {};
}

void take_back(Work& w, const Item& lacking) {
  for (Item& i : w.items()) {
    if ((&i == &lacking && i.lack == 0) || i.quota || !i.c.quota) continue;
    const Bytes used = runs(w, i) && !fills(w, i) ? i.goal : i.settled;
    if (*i.c.quota > used) set_quota(w, i, used);
  }
}

void give_headroom(Work& w) {
  const Bytes headroom = w.rules.growth_headroom;
  for (std::size_t n = 0; n < w.count; ++n) {
    Item& i = w.storage[w.order[n]];
    const Bytes before = i.quota_or_resident();
    if (!runs(w, i) || !i.whole || before < i.goal || before >= i.goal + headroom / 2) continue;
    const Bytes quota = std::min(i.goal + headroom, can_hold(w, i));
    if (quota >= before + w.gpu.chunk) set_quota(w, i, quota);
  }
}

void take_headroom(Work& w) {
  for (Item& i : w.items())
    if (runs(w, i) && i.whole && !i.quota && i.c.quota && *i.c.quota > i.goal) set_quota(w, i, i.goal);
}

// Whoever has no turn runs only with all its memory, and with room for what its calls of the driver want. Left open it
// would seem to ask for what nobody has promised it.
void close_uncovered(Work& w) {
  for (Item& i : w.items())
    if (!i.whole && !i.entitled && !i.let_go && (i.quota_or_resident() < i.goal || (i.lack > 0 && !i.gives_native)))
      i.open = false;
}

}  // namespace

bool fills(const Work& w, const Item& i) {
  const Bytes slack = std::max(w.rules.growth_headroom, w.gpu.chunk);  // headroom, or the rest of a chunk that has left
  return !i.whole && std::max(i.held(), i.quota_or_resident()) > i.c.resident + slack;
}

void plan_quotas(Work& w) {
  for (Item& i : w.items()) {
    const bool stays = runs(w, i) && i.quota_or_resident() < i.c.resident;  // its eviction is called off
    if (i.evict > 0 && i.drained && !i.let_go_now)
      set_quota(w, i, i.settled - i.evict);
    else if (stays || !i.c.quota)
      set_quota(w, i, i.c.resident);
  }
  const bool short_of = w.free < 0;  // other programs took it, or it is to be kept free for them
  const Fill fill = fill_in_order(w);
  if (fill.lacking) take_back(w, *fill.lacking);
  if (short_of)
    take_headroom(w);
  else if (fill.finished)
    give_headroom(w);
  close_uncovered(w);
}

}  // namespace lull::policy

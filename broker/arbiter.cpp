#include "broker/arbiter.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace lull {

using policy::Bytes;
using policy::ClientId;
using policy::Time;

Bytes Card::chunk() const {
  constexpr Bytes granule = 2ull << 20;
  return std::clamp(memory / 64 / granule * granule, granule, Bytes{128} << 20);
}

Arbiter::Arbiter(const Card& card, const policy::Rules& rules, Audience& audience) : card_(card), audience_(audience) {
  state_.gpu.capacity = card.memory;
  state_.gpu.native_reserve = card.sizes.residue;
  state_.gpu.headroom = card.sizes.headroom;
  state_.gpu.chunk = card.chunk();
  state_.rules = rules;
}

std::size_t Arbiter::place_of(ClientId id) const {
  const auto at = std::lower_bound(state_.clients.begin(), state_.clients.end(), id,
                                   [](const policy::Client& c, ClientId wanted) { return c.id < wanted; });
  return static_cast<std::size_t>(at - state_.clients.begin());
}

std::size_t Arbiter::index(ClientId id) const {
  const auto at = place_of(id);
  return at < state_.clients.size() && state_.clients[at].id == id ? at : state_.clients.size();
}

const policy::Client* Arbiter::client(ClientId id) const {
  const auto i = index(id);
  return i < state_.clients.size() ? &state_.clients[i] : nullptr;
}

policy::Client* Arbiter::change(ClientId id) {
  changed_ = true;
  return const_cast<policy::Client*>(client(id));
}

const Seat* Arbiter::seat(ClientId id) const {
  const auto i = index(id);
  return i < seats_.size() ? &seats_[i] : nullptr;
}

Status Arbiter::attach(const Arrival& a, Time now) {
  if (client(a.who.id)) return Error{"attached twice to one GPU"};
  if (state_.clients.size() >= policy::max_clients) return Error{"too many clients on one GPU"};
  policy::Client c;
  c.id = a.who.id;
  c.klass = a.who.klass;
  c.connected = now;
  c.loading = a.loading;
  c.proven = a.proven;
  c.unevictable = a.unevictable;
  c.gang = a.gang;
  c.pipeline = a.pipeline;
  c.exit_grace_spent = grace_.owed(a.who.uid, now);
  Seat seat(a.who, *a.down, *a.up, a.slot);
  if (auto status = seat.read(c, state_.rules, card_.memory, now); !status) return status;
  buried(a.who.pid);  // what it held under an earlier connection it now reports itself
  grace_.came(c.id, c.exit_grace_spent);
  // What NVML saw of it before it was a client was taken for foreign.
  foreign_seen_ -= std::min(foreign_seen_, c.resident + c.native);
  recount_foreign();
  if (speed_) seat.send_piece(piece_of(*speed_));
  seat.offer_native_room();
  if (c.native_wanted > 0) {  // an earlier broker has given it, and it is in use
    const auto share = std::min(c.native_wanted, card_.memory / 16);
    const policy::GiveNative known{c.id, c.native_wanted, policy::native_charge(c, state_.gpu) + share};
    const auto before = c;
    policy::remember(c, known, now);
    seat.send(before, c, known, now);
  }
  const auto at = static_cast<std::ptrdiff_t>(place_of(c.id));
  state_.clients.insert(state_.clients.begin() + at, c);
  seats_.insert(seats_.begin() + at, std::move(seat));
  share_grace(a.who.uid, now);
  return Done{};
}

void Arbiter::release(ClientId id, Time now) {
  const auto i = index(id);
  if (i == seats_.size()) return;
  const auto& c = state_.clients[i];
  switches_.end(id, now);
  tell_news();
  const bool saving = c.lease_since != 0 && c.lease_reason == Reason::exit_grace;
  grace_.went(id, seats_[i].who().uid, c.exit_grace_spent + (saving ? now - std::min(now, c.lease_since) : 0), now);
  evicted_gone_ += seats_[i].evicted();
  restored_gone_ += seats_[i].restored();
  paused_gone_[static_cast<std::size_t>(c.klass)] += seats_[i].paused_ns(c, now);
  ghosts_.push_back({seats_[i].who().pid, policy::charge(c, state_.gpu)});
  state_.clients.erase(state_.clients.begin() + static_cast<std::ptrdiff_t>(i));
  seats_.erase(seats_.begin() + static_cast<std::ptrdiff_t>(i));
  recount_foreign();
}

void Arbiter::set_speed(CardSpeed speed) {
  speed_ = std::move(speed);
  for (auto& seat : seats_) seat.send_piece(piece_of(*speed_));
}

void Arbiter::share_grace(unsigned uid, Time now) {
  std::vector<GraceDebts::Account> accounts;
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].who().uid == uid) accounts.push_back({seats_[i].who().id, state_.clients[i].exit_grace_spent});
  grace_.share(uid, accounts, state_.rules.exit_grace, now);
  for (const auto& account : accounts) state_.clients[index(account.client)].exit_grace_spent = account.spent;
}

Bytes Arbiter::reserved_by(unsigned uid) const {
  Bytes sum = 0;
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].who().uid == uid && seats_[i].who().klass == Class::training) sum += state_.gpu.native_reserve;
  return sum;
}

// What a client says it has beside managed memory, and NVML does not, makes no room smaller than all of its user's may.
void Arbiter::bound_claim(std::size_t i) {
  auto& c = state_.clients[i];
  if (seats_[i].native_is_measured()) return;
  Bytes others = 0;
  for (std::size_t j = 0; j < seats_.size(); ++j)
    if (j != i && seats_[j].who().uid == seats_[i].who().uid && !seats_[j].native_is_measured())
      others += state_.clients[j].native;
  const Bytes most = card_.memory / 4;
  c.native = std::min(c.native, std::max(state_.gpu.native_reserve, most - std::min(most, others)));
}

void Arbiter::buried(int pid) {
  if (std::erase_if(ghosts_, [pid](const Ghost& g) { return g.pid == pid; }) != 0) recount_foreign();
}

Status Arbiter::refresh(ClientId id, Time now) {
  const auto i = index(id);
  return i == seats_.size() ? Status(Done{}) : reread(i, now);
}

Status Arbiter::reread(std::size_t i, Time now) {
  if (auto status = seats_[i].read(state_.clients[i], state_.rules, card_.memory, now); !status) return status;
  if (!seats_[i].changed()) return Done{};
  changed_ = true;
  bound_claim(i);
  end_loading(state_.clients[i], now);
  return Done{};
}

// What is told of them next may be a signal: by then they have what time has given back.
void Arbiter::forgive(Time now) {
  if (now < forgive_at_) return;
  forgive_at_ = now + policy::second;
  std::set<unsigned> users;
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (state_.clients[i].exit_grace_spent > 0) users.insert(seats_[i].who().uid);
  for (const unsigned uid : users) share_grace(uid, now);
}

void Arbiter::refresh_all(Time now, const News& news) {
  forgive(now);
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    const auto refused = seats_[i].up().refused;
    const auto status = reread(i, now);
    if (!status) news(seats_[i], status.error().what);
    if (seats_[i].up().refused != refused) news(seats_[i], nullptr);
  }
}

void Arbiter::end_loading(policy::Client& c, Time now) {
  if (!c.loading) return;
  const auto active = std::max(c.connected, c.last_submission);
  const bool quiet = now - std::min(now, active) > state_.rules.loading_quiet && !c.wants && c.resident >= c.needed;
  if (quiet || now - c.connected > state_.rules.loading_max) c.loading = false;
}

void Arbiter::step_if_due(Time now) {
  if (changed_ || now >= wake_at_) step(now);
}

void Arbiter::note_thrashing(Time now) {
  constexpr Time window = 60 * policy::second, look_every = policy::second;
  if (now - std::min(now, thrashing_looked_) < look_every) return;
  thrashing_looked_ = now;
  const bool thrashes = 2 * switches_.spent(now - std::min(now, window), now) > window;
  if (std::exchange(thrashing_, thrashes) != thrashes)
    audience_.on_stuck(card_, Who{}, thrashes ? Reason::thrashing : Reason::none);
}

void Arbiter::step(Time now) {
  changed_ = false;
  time_use_.observe(state_, now);
  switches_.observe(table(), now);
  note_thrashing(now);
  end_orders(now);
  tell_news();
  state_.gpu.round_trip = switches_.round_trip() ? switches_.round_trip() : 2 * switches_.predicted();
  if (wish_ && now >= wish_->until) {
    audience_.on_wish_over(card_, *wish_);
    wish_.reset();
  }
  state_.gpu.kept_free = still_wanted(wish_, state_.gpu.foreign, now);
  policy::decide(state_, now, decisions_);
  wake_at_ = wish_ ? wish_->until : policy::never;
  if (thrashing_) wake_at_ = std::min(wake_at_, now + policy::second);  // its end is told, too
  for (const auto& decision : decisions_) apply(decision, now);
  switches_.settle(table());
  for (auto& seat : seats_) seat.flush();
  chart_.note(table(), state_.gpu.foreign, card_.memory / 128, now);
}

void Arbiter::apply(const policy::Decision& decision, Time now) {
  if (const auto* wake = std::get_if<policy::WakeAt>(&decision)) {
    wake_at_ = std::min(wake_at_, wake->at);
    return;
  }
  const auto id = policy::client_of(decision);
  const auto i = id ? index(*id) : seats_.size();
  if (i == seats_.size()) return;
  const auto before = state_.clients[i];
  policy::remember(state_.clients[i], decision, now);
  seats_[i].send(before, state_.clients[i], decision, now);
  if (state_.clients[i].exit_grace_spent > before.exit_grace_spent) share_grace(seats_[i].who().uid, now);
  follow(decision, i, now);
}

// What a decision means for the records and the audience.
void Arbiter::follow(const policy::Decision& decision, std::size_t i, Time now) {
  auto& seat = seats_[i];
  if (const auto* take = std::get_if<policy::TakeLease>(&decision)) {
    switches_.close(now);
    tell_news();
    switches_.begin(seat.who(), take->reason, seat.take_demand_since(now), now);
    switches_.predict(predict(state_.clients[i]));
  } else if (std::holds_alternative<policy::EndLease>(decision)) {
    switches_.end(seat.who().id, now);
    tell_news();
    if (const auto* last = switches_.last(); last && last->ended == now) audience_.on_lease_end(card_, *last);
  } else if (const auto* stuck = std::get_if<policy::Stuck>(&decision)) {
    audience_.on_stuck(card_, seat.who(), stuck->reason);
  } else if (std::holds_alternative<policy::LetGo>(decision)) {
    audience_.on_overdue(card_, seat.who(), state_.clients[i].phase.reason);
  }
}

// By what it lacks and what is free, before anything is given: later, quotas in flight would blur it.
Time Arbiter::predict(const policy::Client& next) const {
  if (!speed_) return 0;
  const Bytes in = next.needed - std::min(next.needed, next.resident);
  const Bytes given = std::max(next.quota_high, next.resident) - next.resident;
  const Bytes room = policy::free_now(state_) + given;
  const Bytes out = in - std::min(in, room);
  return in == 0 ? 0 : policy::Time{predict_move(*speed_, out, in, state_.gpu.chunk)};
}

void Arbiter::tell_news() {
  if (const auto* news = switches_.news()) audience_.on_switch(card_, *news);
}

void Arbiter::arrived(ClientId id, Time at, KindId kind, bool proven) {
  changed_ = true;
  const auto i = index(id);
  if (i < seats_.size()) (void)seats_[i].arrived(state_.clients[i], at, kind, proven);
}

void Arbiter::set_order(ClientId id, policy::Order order, Time until) {
  auto* c = change(id);
  if (!c) return;
  c->order = order;
  c->order_until = until;
  if (order != policy::Order::none) orders_end_ = std::min(orders_end_, until);
}

void Arbiter::end_orders(Time now) {
  if (now < orders_end_) return;
  orders_end_ = policy::never;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    auto& c = state_.clients[i];
    if (c.order == policy::Order::none) continue;
    if (now < c.order_until)
      orders_end_ = std::min(orders_end_, c.order_until);
    else
      audience_.on_order_over(card_, seats_[i].who(), std::exchange(c.order, policy::Order::none));
  }
}

void Arbiter::connects(ClientId id, Time at) {
  if (auto* c = change(id)) c->last_hint = std::max(c->last_hint, at);
}

void Arbiter::wake(ClientId id, Time now, Time until) {
  const auto i = index(id);
  if (i == seats_.size()) return;
  changed_ = true;
  auto& c = state_.clients[i];
  if (c.waiting == 0 && !c.wants) seats_[i].begin_demand(now);
  c.last_arrival = std::max(c.last_arrival, now);
  c.wake_until = until;  // the last word counts, also to end an earlier one
}

std::vector<Seat::Outcome> Arbiter::take_outcomes(ClientId id) {
  const auto i = index(id);
  return i < seats_.size() ? seats_[i].take_outcomes() : std::vector<Seat::Outcome>();
}

void Arbiter::requests(ClientId id, std::uint32_t waiting, Time last_activity) {
  auto* c = change(id);
  if (!c) return;
  c->waiting = waiting;
  c->last_request_activity = std::max(c->last_request_activity, last_activity);
}

void Arbiter::loaded(ClientId id) {
  if (auto* c = change(id)) c->loading = false;
}

void Arbiter::hear(ClientId id, const policy::GangNews& news, Time now) {
  const auto* c = client(id);
  if (!c || (c->gang_wants == news.wants && (c->gang_waits_since != 0) == news.waits && c->gang_behind == news.behind))
    return;
  policy::note_gang(*change(id), news, now);
}

void Arbiter::regroup(ClientId id, std::uint32_t gang, std::uint32_t pipeline) {
  const auto* now = client(id);
  if (!now || (now->gang == gang && now->pipeline == pipeline)) return;
  auto& c = *change(id);
  if (c.gang != gang) {  // what the others have said concerns it no more
    c.gang_waits_since = c.gang_waited = 0;
    c.gang_behind = false;
    c.gang_wants = policy::Level::none;
  }
  c.gang = gang;
  c.pipeline = pipeline;
}

void Arbiter::set_backing(ClientId id, Bytes bytes) {
  const auto* c = client(id);
  if (c && c->backing != bytes) change(id)->backing = bytes;
}

void Arbiter::set_admit(ClientId id, std::optional<Bytes> limit) {
  const auto i = index(id);
  if (i < seats_.size()) seats_[i].send_admit(limit);
}

std::optional<Bytes> Arbiter::quiet_mark() const {
  Bytes held = 0;
  for (const auto& c : state_.clients) {
    if (c.phase.phase == Phase::moving || c.phase.phase == Phase::draining) return std::nullopt;
    held += c.resident + c.native;
  }
  return held;
}

bool Arbiter::names_all(const CardUse& use) const {
  return std::all_of(seats_.begin(), seats_.end(),
                     [&](const Seat& seat) { return use.of(seat.who().pid).has_value(); });
}

void Arbiter::note_strangers(const CardUse& use) {
  const auto is_client = [&](int pid) {
    return std::any_of(seats_.begin(), seats_.end(), [pid](const Seat& seat) { return seat.who().pid == pid; });
  };
  strangers_.clear();
  std::copy_if(use.processes.begin(), use.processes.end(), std::back_inserter(strangers_),
               [&](const Stranger& s) { return !is_client(s.pid); });
  std::stable_sort(strangers_.begin(), strangers_.end(),
                   [](const Stranger& a, const Stranger& b) { return a.used.value_or(0) > b.used.value_or(0); });
}

void Arbiter::set_wish(std::optional<Wish> wish) {
  wish_ = wish;
  if (wish_) wish_->foreign = state_.gpu.foreign;
}

Bytes Arbiter::most_to_free() const {
  const auto& gpu = state_.gpu;
  Bytes taken = gpu.headroom + gpu.foreign;
  for (const auto& c : state_.clients) taken += policy::native_charge(c, gpu) + (c.unevictable ? c.resident : 0);
  return gpu.capacity - std::min(gpu.capacity, taken);
}

void Arbiter::set_used(const CardUse& use, std::optional<Bytes> mark) {
  note_strangers(use);
  const bool quiet = mark && quiet_mark() == mark;
  // Clients that wait for room may be "moving" for as long as they wait: without this, foreign memory that was counted
  // too high once would keep them waiting for ever.
  if (!quiet && !(use.steady && names_all(use))) return;
  Bytes others = use.used;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    auto& c = state_.clients[i];
    const auto told = use.of(seats_[i].who().pid);
    if (quiet && told) seats_[i].measured(c, *told - std::min(*told, c.resident));
    others -= std::min(others, quiet ? c.resident + c.native : *told);
  }
  for (auto& ghost : ghosts_) {  // one that has let go of memory, as exec does, shrinks
    ghost.bytes = std::min(ghost.bytes, others);
    others -= ghost.bytes;
  }
  foreign_seen_ = others;
  recount_foreign();
}

void Arbiter::recount_foreign() {
  changed_ = true;
  state_.gpu.foreign = foreign_seen_;
  for (const auto& ghost : ghosts_) state_.gpu.foreign += ghost.bytes;
}

// A gate may open where nothing has to move first. The others follow the shim's own rules for a lost broker.
void Arbiter::open_what_is_whole(Time now) {
  for (const auto& c : std::vector(state_.clients))
    if (c.resident >= c.needed) apply(policy::SetGate{c.id, GateState::open, Reason::none}, now);
  for (auto& seat : seats_) seat.flush();
}

Bytes Arbiter::evicted_total() const {
  Bytes sum = evicted_gone_;
  for (const auto& seat : seats_) sum += seat.evicted();
  return sum;
}

Bytes Arbiter::restored_total() const {
  Bytes sum = restored_gone_;
  for (const auto& seat : seats_) sum += seat.restored();
  return sum;
}

Time Arbiter::paused_total(Class klass, Time now) const {
  Time sum = paused_gone_[static_cast<std::size_t>(klass)];
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].who().klass == klass) sum += seats_[i].paused_ns(state_.clients[i], now);
  return sum;
}

}  // namespace lull

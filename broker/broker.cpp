#include "broker/broker.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/clock.h"
#include "broker/log.h"
#include "broker/units.h"

namespace lull {
namespace {

using policy::Bytes;
using policy::Time;

constexpr Time tick_every = recheck_ns;
constexpr unsigned ticks_a_second = 10;
constexpr Time first_measured_after = policy::second;  // clients of an earlier broker come back first

std::vector<std::optional<std::size_t>> nvml_numbers(const std::vector<Card>& cards) {
  std::vector<std::optional<std::size_t>> numbers;
  for (const auto& card : cards) numbers.push_back(card.nvml);
  return numbers;
}

}  // namespace

Broker::Broker(Loop& loop, const Config& config, std::vector<Card> cards, const Nvml* nvml, RuntimeDir run,
               const std::string& state_dir, Prepared prepared)
    : loop_(loop),
      config_(config),
      run_(std::move(run)),
      started_(now_ns()),
      reception_(loop, config, *this),
      spills_(reception_, config, state_dir),
      control_(loop, events_, commands()),
      request_notes_(std::move(prepared.notes)),
      rights_(std::move(prepared.rights)),
      requests_(std::move(prepared.requests)),
      oom_(run_.path + "/oom-scores"),
      speeds_(state_dir),
      driver_version_(nvml ? nvml->driver_version() : ""),
      measuring_(cards.size()),
      measurer_(speeds_, driver_version_),
      gauge_(nvml, nvml_numbers(cards)),
      host_(read_host_memory()) {
  for (const auto& card : cards)
    arbiters_.push_back(std::make_unique<Arbiter>(card, config.rules, static_cast<Audience&>(*this)));
  load_speeds();
  hook_.set(config.on_stuck, config.on_stuck_user);
}

lull::Status Broker::open() {
  const auto keep = [](Source& place, Result<Source> made) -> lull::Status {
    if (!made) return made.error();
    place = std::move(*made);
    return Done{};
  };
  if (auto s = keep(tick_, loop_.timer(Urgency::normal, [this] { tick(); })); !s) return s;
  if (auto s = keep(decide_, loop_.timer(Urgency::client, [this] { settle_all(now_ns()); })); !s) return s;
  if (auto s = keep(on_arena_, loop_.io(arenas_.fd(), EPOLLIN, Urgency::normal, [this](std::uint32_t) { on_arena(); }));
      !s)
    return s;
  if (auto s = keep(on_gauge_, loop_.io(gauge_.fd(), EPOLLIN, Urgency::normal, [this](std::uint32_t) { on_gauge(); }));
      !s)
    return s;
  if (spills_.on())
    if (auto s = keep(on_spilled_,
                      loop_.io(spills_.fd(), EPOLLIN, Urgency::normal, [this](std::uint32_t) { on_spilled(); }));
        !s)
      return s;
  if (auto s = keep(measure_, loop_.timer(Urgency::report, [this] { measure_cards(); })); !s) return s;
  if (auto s = keep(on_measured_,
                    loop_.io(measurer_.fd(), EPOLLIN, Urgency::report, [this](std::uint32_t) { on_measured(); }));
      !s)
    return s;
  measure_.set_time(now_ns() + first_measured_after);
  ask_gauge();
  for (const auto& note : request_notes_) log::notice("{}", note);
  if (requests_.on())
    if (auto s = keep(on_requests_, loop_.io(requests_.poll_fd(), EPOLLIN, Urgency::request,
                                             [this](std::uint32_t) { look_for_requests(); }));
        !s)
      return s;
  for (const auto& socket : run_.soon) {
    if (auto s = keep(on_soon_.emplace_back(), loop_.io(socket.listener.get(), EPOLLIN, Urgency::client,
                                                        [this, &socket](std::uint32_t) { on_soon(socket); }));
        !s)
      return s;
  }
  watch_gpus();
  if (auto s = control_.open(run_.control.get()); !s) return s;
  return reception_.open(run_);
}

void Broker::reload(const Config& config) {
  const Config before = std::exchange(config_, config);
  hook_.set(config.on_stuck, config.on_stuck_user);
  reception_.set_config(config);
  spills_.set_config(config);
  for (auto& arbiter : arbiters_) arbiter->set_rules(config.rules);
  set_admissions();
  reception_.for_each([&](Client& c) {
    follow_service(c, before.service(c.who().tenant));
    regroup(c);
  });
  measure_.set_time(now_ns());
  settle_all(now_ns());
}

void Broker::announce_restart() {
  reception_.for_each([](Client& client) {
    client.down().restarting();
    client.down().flush();
  });
}

void Broker::leave() {
  for (auto& arbiter : arbiters_) arbiter->open_what_is_whole(now_ns());
}

void Broker::on_connect() {
  if (std::exchange(ticking_, true)) return;
  tick_.set_time(now_ns() + tick_every);
  ask_gauge();
}

void Broker::on_welcome(Client& client) {
  const auto& who = client.who();
  client.gang = gang_of(client);
  adopt_order(client, now_ns());
  log::info("connect client={} pid={} uid={} class={} tenant=\"{}\" shim=\"{}\"", who.id, who.pid, who.uid,
            name_of(who.klass), who.tenant, client.hello().shim_version);
  events_.append({{"event", "connect"}, {"t_ns", now_ns()}, {"client", json_of(who)}});
}

lull::Status Broker::on_attach(Client& client, const Attach& attach) {
  const Time now = now_ns();
  Uuid uuid;
  std::copy(std::begin(attach.uuid), std::end(attach.uuid), uuid.begin());
  const auto at =
      std::find_if(arbiters_.begin(), arbiters_.end(), [&](const auto& a) { return a->card().uuid == uuid; });
  if (at == arbiters_.end()) {
    log::warning("unmanaged client={} pid={} why=\"{} is not among this broker's GPUs\"", client.who().id,
                 client.who().pid, show_uuid(uuid));
    return Done{};
  }
  const auto card = static_cast<std::size_t>(at - arbiters_.begin());
  if (waits_for_reserve(client, attach, **at)) return Done{};
  needs_card(card);
  if (!client.attach(attach.slot, card)) return Error{"attached twice to one GPU or slot"};
  const bool service = client.who().klass != Class::training;
  const auto age = process_age(client.who().pid);  // an old process that comes back after a restart is not starting
  const bool loading = service && (!age || *age < config_.rules.loading_max);
  const Arbiter::Arrival arrival{client.who(),
                                 &client.down(),
                                 &client.up(attach.slot),
                                 attach.slot,
                                 loading,
                                 kinds_.any_proven(client.tenant()),
                                 (client.hello().flags & hello_native) != 0,
                                 client.gang.number,
                                 pipeline_of(client)};
  if (auto status = (*at)->attach(arrival, now); !status) return status;
  (*at)->set_backing(client.who().id, client.backing());
  (*at)->set_order(client.who().id, client.order.order, client.order.until);
  log::info("attach client={} gpu={} needed={} resident={}", client.who().id, card,
            show_bytes((*at)->state().clients.back().needed), show_bytes((*at)->state().clients.back().resident));
  if (service)
    watch_requests(client);
  else
    requests_.watch_exit(client.who().pid);
  ask_gauge();  // a look before this one may have taken its context for another program's
  set_admissions();
  settle(client, now);
  return Done{};
}

// Whoever has many contexts keeps nobody else off the card. Anybody may come as a training program; who may come as
// another class is trusted, and never waits behind training of the same user.
bool Broker::waits_for_reserve(Client& client, const Attach& attach, const Arbiter& arbiter) {
  if (client.who().klass != Class::training) return false;
  const auto uid = client.who().uid;
  const auto most = config_.reserve_per_uid.value_or(arbiter.card().memory / 2);
  const auto taken = arbiter.reserved_by(uid);
  if (taken == 0 || taken + arbiter.state().gpu.native_reserve <= most) return false;
  if (client.waiting_attaches.size() < max_gpus) client.waiting_attaches.push_back(attach);
  if (!std::exchange(client.told_of_reserve, true))
    log::warning(
        "unmanaged client={} pid={} uid={} why=\"{} are kept for other programs of this user "
        "(limits.reserve_per_uid)\"",
        client.who().id, client.who().pid, uid, show_bytes(taken));
  return true;
}

void Broker::attach_waiting() {
  std::vector<std::pair<policy::ClientId, const char*>> liars;
  reception_.for_each([&](Client& client) {
    for (const auto& attach : std::exchange(client.waiting_attaches, {}))
      if (const auto status = on_attach(client, attach); !status)
        liars.emplace_back(client.who().id, status.error().what);
  });
  for (const auto& [id, word] : liars)
    if (auto* client = reception_.find(id)) reception_.drop(*client, word);
}

lull::Status Broker::on_doorbell(Client& client) {
  const Time now = now_ns();
  if (auto status = refresh(client, now); !status) return status;
  set_admissions();
  settle(client, now);
  return Done{};
}

lull::Status Broker::refresh(Client& client, Time now) {
  for (const auto& card : client.cards()) {
    if (!card) continue;
    auto& arbiter = *arbiters_[*card];
    const auto* seat = arbiter.seat(client.who().id);
    const auto refused = seat ? seat->up().refused : 0;
    if (auto status = arbiter.refresh(client.who().id, now); !status) return status;
    if (seat && seat->up().refused != refused) on_refused(arbiter.card(), *seat);
  }
  return Done{};
}

void Broker::on_lost(Client& client, const char* why) {
  const Time now = now_ns();
  (void)refresh(client, now);  // its last words, such as an allocation refused; one that lies is leaving anyway
  log::info("disconnect client={} pid={} tenant=\"{}\" why=\"{}\"", client.who().id, client.who().pid,
            client.who().tenant, why);
  requests_.forget(client.who().id);
  for (const auto& card : client.cards())
    if (card) arbiters_[*card]->release(client.who().id, now);
  events_.append({{"event", "disconnect"}, {"t_ns", now}, {"client", json_of(client.who())}, {"why", why}});
  set_admissions();
  settle(client, now);
}

void Broker::on_dead(Client& client) {
  for (auto& arbiter : arbiters_)
    arbiter->buried(client.who().pid);  // on all: an earlier connection may have used others
  settle_all(now_ns());
}

void Broker::settle(const Client& client, Time now) {
  for (const auto& card : client.cards())
    if (card) arbiters_[*card]->step(now);
  spills_.look([this](const Client& other) { return needs_memory(other); });
  schedule(now);
}

void Broker::settle_all(Time now) {
  for (auto& arbiter : arbiters_) arbiter->step(now);
  spills_.look([this](const Client& client) { return needs_memory(client); });
  schedule(now);
}

void Broker::schedule(Time now) {
  coordinate_gangs(now);
  Time next = policy::never;
  for (const auto& arbiter : arbiters_) next = std::min(next, arbiter->wake_at());
  // Asked for in the past it would spin: the policy is asked again at the earliest after a millisecond.
  decide_.set_time(next == policy::never ? next : std::max(next, now + policy::ms));
}

void Broker::tick() {
  const Time now = now_ns();
  reception_.tick(now);
  std::vector<std::pair<policy::ClientId, const char*>> liars;
  for (auto& arbiter : arbiters_)
    arbiter->refresh_all(now, [&](const Seat& seat, const char* lie) {
      if (lie) return void(liars.emplace_back(seat.who().id, lie));
      on_refused(arbiter->card(), seat);
    });
  for (const auto& [id, word] : liars)
    if (auto* client = reception_.find(id)) reception_.drop(*client, word);
  if (requests_.on()) requests_.recount(request_sink(now));
  const bool second = ++ticks_ % ticks_a_second == 0;
  const bool changed = std::any_of(arbiters_.begin(), arbiters_.end(), [](const auto& a) { return a->changed(); });
  if (changed || second) {
    set_admissions();
    settle_all(now);
    learn();
    plan_backing(now);
  } else {
    for (auto& arbiter : arbiters_) arbiter->step_if_due(now);
    schedule(now);
  }
  if (second) {
    attach_waiting();
    ask_gauge();
    requests_.look_again(now);
    look_at_holders();
  }
  take_out_garbage();
  ticking_ = !reception_.empty();
  tick_.set_time(ticking_ ? now + tick_every : policy::never);
}

}  // namespace lull

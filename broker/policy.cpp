// broker/policy.cpp: decide(), step by step. The rules in prose: docs/policy.md.
#include "broker/policy.h"

#include "broker/policy_work.h"

namespace lull::policy {
namespace {

constexpr std::uint32_t stuck_count = 7;  // 0.5 s doubled seven times is about that minute
constexpr int most_passes = 8;            // two are the rule: one that decides, one that finds nothing more

// Decisions are remembered at once, in the copies that the next pass looks at.
struct Answer {
  Decisions& out;
  Time now;
  void say(Item& i, const Decision& d) const {
    remember(i.c, d, now);
    out.push_back(d);
  }
};

void pass_lease(Work& w, const Answer& answer) {
  const Choice choice = choose(w);
  if (choice.holder == w.holder) return;
  if (w.holder) answer.say(*w.holder, EndLease{w.holder->c.id, choice.ended_for});
  if (choice.holder) answer.say(*choice.holder, TakeLease{choice.holder->c.id, choice.taken_for});
  measure(w);
  rank(w);
}

void say_quota(const Answer& answer, Item& i) {
  if (i.quota && i.c.quota != i.quota) answer.say(i, SetQuota{i.c.id, *i.quota, i.reason});
}

// What it has given back is no more charged; what it lacks is, from now on.
void say_native(const Work& w, const Answer& answer, Item& i) {
  const Client& c = i.c;
  if (c.native_wanted < c.native_given)
    answer.say(i, GiveNative{c.id, c.native_wanted,
                             c.native_floor - std::min(c.native_floor, c.native_given - c.native_wanted)});
  else if (i.gives_native)
    answer.say(i, GiveNative{c.id, c.native_wanted, native_charge(c, w.gpu) + i.lack});
}

void say_let_go(const Answer& answer, Item& i) {
  answer.say(i, LetGo{i.c.id, i.let_go_until});
  i.open = true;
}

bool lowers(const Item& i) { return i.quota && i.c.quota && *i.quota < *i.c.quota; }
bool closes(const Item& i) { return !i.open && i.c.gate.state != GateState::closed; }
bool opens(const Item& i) { return i.open && !i.open_now(); }

bool has_news(const Item& i) {
  const bool native = i.c.native_wanted < i.c.native_given || i.gives_native;
  return i.let_go_now || native || closes(i) || opens(i) || (i.quota && i.c.quota != i.quota);
}

// Gates close before anything is given, and open last: nobody is let in beside somebody who ought to be out.
void say_gates_and_quotas(Work& w, const Answer& answer) {
  if (std::none_of(w.items().begin(), w.items().end(), has_news)) return;  // the rule: every decision ends with it
  for (Item& i : w.items())
    if (i.let_go_now) say_let_go(answer, i);
  for (Item& i : w.items())
    if (closes(i)) answer.say(i, SetGate{i.c.id, GateState::closed, i.reason});
  for (Item& i : w.items())
    if (lowers(i)) say_quota(answer, i);
  for (Item& i : w.items()) say_native(w, answer, i);
  for (Item& i : w.items()) say_quota(answer, i);
  for (Item& i : w.items())
    if (opens(i)) answer.say(i, SetGate{i.c.id, GateState::open, i.reason});
}

void say_new_reasons(Work& w, const Answer& answer) {
  for (Item& i : w.items())
    if (i.c.reason != i.reason) answer.say(i, SetGate{i.c.id, i.c.gate.state, i.reason});
}

// Since when it is as it is, with the reason that is about to be told.
Time reason_since(const Work& w, const Item& i) { return i.c.reason == i.reason ? i.c.reason_since : w.now; }

bool starves(Work& w, const Item& i) {
  const bool waits = i.own_class == Class::training && i.level != Level::none && !i.let_in();
  const bool above = w.holder && (w.holder->c.klass > Class::training || w.holder->level == Level::held);
  return waits && above && w.passed(i.c.gate_since, w.rules.starved_after);
}

Reason stuck_reason(Work& w, const Item& i) {
  if (i.misfit == Reason::does_not_fit || i.misfit == Reason::over_reserve) return i.misfit;
  if (i.too_big()) return w.passed(reason_since(w, i), w.rules.max_wait) ? i.misfit : Reason::none;
  if (i.reason == Reason::blocked_by_foreign && w.passed(reason_since(w, i), w.rules.max_wait)) return i.reason;
  if (i.c.overdue_count >= stuck_count) return Reason::overdue;
  if (starves(w, i)) return Reason::training_starved;
  if (i.evict > 0 && !i.drained && !i.open && w.passed(i.c.gate_since, w.rules.max_wait)) return Reason::overdue;
  if (w.has_card(i) && stalled(w, *w.holder)) return i.whole ? Reason::gang_waits : Reason::restoring;
  const PhaseWord& phase = i.c.phase;
  const bool memory = phase.reason == Overdue::no_backing || phase.reason == Overdue::copy_failed ||
                      phase.reason == Overdue::no_device_memory || phase.reason == Overdue::spill_lost;
  const bool present = phase.phase == Phase::overdue && phase.generation == i.c.gate.generation;
  return present && memory && w.passed(i.c.gate_since, w.rules.max_wait) ? Reason::overdue : Reason::none;
}

// Loose while nobody comes: a long queue gives a trainer room for pauses of its own. Nobody has to wait for the drain
// of a trainer that is alone with its like.
std::uint32_t drain_limit_us(const Work& w, const Item& i) {
  if (i.c.klass < w.comes) return w.rules.armed_drain_limit_us;
  return i.c.klass < w.highest && i.c.klass == Class::training ? w.rules.drain_limit_us : 0;
}

void say_the_rest(Work& w, const Answer& answer) {
  for (Item& i : w.items()) {
    const std::uint32_t limit = drain_limit_us(w, i);
    if (limit != i.c.drain_limit_us) answer.say(i, Arm{i.c.id, limit});
    if (i.says != i.c.gang_said) answer.say(i, TellGang{i.c.id, i.says});
    const Bytes refused = i.refused ? i.c.native_wanted : 0;
    if (refused != i.c.native_refused) answer.say(i, RefuseNative{i.c.id, refused});
    const Reason stuck = stuck_reason(w, i);
    if (stuck != i.c.stuck) answer.say(i, Stuck{i.c.id, stuck});
  }
}

void decide_once(Work& w, const Answer& answer) {
  measure(w);
  rank(w);
  pass_lease(w, answer);
  seat(w);
  plan_gates(w);
  plan_quotas(w);
  plan_gangs(w);
  plan_reasons(w);
  say_gates_and_quotas(w, answer);
  say_the_rest(w, answer);
}

}  // namespace

Bytes native_charge(const Client& c, const Gpu& gpu) {
  return std::max({gpu.native_reserve, c.native, c.native_floor});
}

Bytes charge(const Client& c, const Gpu& gpu) {
  const Bytes movable = std::max(c.quota_high, c.resident);
  const Bytes native = native_charge(c, gpu);
  return movable > ~native ? ~Bytes{0} : movable + native;
}

Bytes free_now(const State& state) {
  Bytes left = state.gpu.capacity;
  const auto take = [&left](Bytes bytes) { left -= std::min(left, bytes); };
  take(state.gpu.headroom);
  take(state.gpu.foreign);
  for (const Client& c : state.clients) take(charge(c, state.gpu));
  return left;
}

// The last pass decides nothing: it sees everything as it will be, so its times are those to be woken at.
void decide(const State& state, Time now, Decisions& out) {
  out.clear();
  Work w(state, now);
  const Answer answer{out, now};
  for (int pass = 0; pass < most_passes; ++pass) {
    const std::size_t before = out.size();
    decide_once(w, answer);
    if (out.size() == before) break;
  }
  say_new_reasons(w, answer);
  if (w.next != never) out.push_back(WakeAt{w.next});
}

}  // namespace lull::policy

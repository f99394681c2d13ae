#include "tests/replay/machine.h"

#include <algorithm>
#include <cmath>

namespace lull::replay {
namespace {

using policy::never;
using policy::second;

constexpr Time probe_time = 5 * policy::ms;
constexpr unsigned most_answers = 64;  // of an arbiter at one moment

double seconds(Time time) { return static_cast<double>(time) / second; }
Time after(double s) { return static_cast<Time>(std::ceil(std::max(s, 0.0) * second)) + 1; }

}  // namespace

Machine::Machine(const Trace& trace, const policy::Rules& rules, std::uint64_t seed)
    : trace_(trace), programs_(trace.tenants.size()), random_(seed), learned_(trace.tenants.size()) {
  state_.rules = rules;
  state_.gpu = {.capacity = trace.memory, .native_reserve = trace.native, .headroom = trace.headroom};
  constexpr Bytes granule = 2ull << 20;
  state_.gpu.chunk = std::clamp(trace.memory / 64 / granule * granule, granule, Bytes{128} << 20);
  for (std::size_t i = 0; i < trace.tenants.size(); ++i) {
    Client c{.id = static_cast<policy::ClientId>(i + 1), .klass = trace.tenants[i].klass};
    c.needed = trace.tenants[i].memory;
    c.pipeline = trace.tenants[i].pipeline;
    c.quota = c.quota_high = 0;
    c.gate = c.seen_gate = {1, GateState::closed};
    c.phase = {1, Phase::drained, Overdue::none};
    c.connected = now_;
    state_.clients.push_back(c);
  }
  const auto trains = [](const Client& c) { return c.klass == Class::training; };
  const auto first = std::find_if(state_.clients.begin(), state_.clients.end(), trains);
  if (first == state_.clients.end()) return;
  first->resident = first->needed;  // it has been training before
  first->quota = first->quota_high = first->needed;
  first->gate = first->seen_gate = {1, GateState::open};
  first->phase = {1, Phase::running, Overdue::none};
}

bool Machine::has_work(std::size_t t) const {
  return trace_.tenants[t].klass == Class::training || !programs_[t].jobs.empty();
}

bool Machine::runs(std::size_t t) const {
  const Client& c = client(t);
  return has_work(t) && c.gate.state != GateState::closed && c.resident >= c.needed;
}

bool Machine::leaves(std::size_t t) const {
  const Client& c = client(t);
  return c.gate.state == GateState::closed && c.phase.phase == Phase::drained && c.quota && *c.quota < c.resident;
}

bool Machine::comes(std::size_t t) const {
  const Client& c = client(t);
  return c.resident < c.needed && c.quota && *c.quota > c.resident;
}

double Machine::rate_out(std::size_t t) const {
  if (!trace_.tenants[t].changes()) return trace_.hash;
  if (programs_[t].untouched > 0) return trace_.hash;  // its copy is good still
  for (std::size_t other = 0; other < programs_.size(); ++other)
    if (comes(other)) return trace_.link * trace_.both;
  return trace_.link;
}

double Machine::rate_in() const {
  for (std::size_t t = 0; t < programs_.size(); ++t)
    if (leaves(t) && trace_.tenants[t].changes() && programs_[t].untouched == 0) return trace_.link * trace_.both;
  return trace_.link;
}

double Machine::chunk_left(std::size_t t) const {
  const Client& c = client(t);
  const Bytes rest = comes(t) ? std::min(c.needed, *c.quota) - c.resident : c.resident;
  return static_cast<double>(std::min(rest, state_.gpu.chunk)) - programs_[t].moved;
}

// Room that is free is filled at the speed of one way. The rest has to be made, by what leaves without being copied as
// far as there is such memory; then both ways are used at once.
Time Machine::floor_of(std::size_t t) const {
  const Client& c = client(t);
  const Bytes missing = c.needed - std::min(c.needed, c.resident);
  Bytes used = state_.gpu.headroom + state_.gpu.native_reserve * state_.clients.size(), clean = 0;
  for (std::size_t other = 0; other < programs_.size(); ++other) {
    used += client(other).resident;
    if (other == t) continue;
    clean += trace_.tenants[other].changes() ? programs_[other].untouched : client(other).resident;
  }
  const Bytes room = state_.gpu.capacity - std::min(state_.gpu.capacity, used) + clean;
  const Bytes made = missing - std::min(missing, room);
  const double at_once = static_cast<double>(made) / (trace_.link * trace_.both);
  return static_cast<Time>((at_once + static_cast<double>(missing - made) / trace_.link) * second);
}

// What the program has been asked for before takes its time also where it has the card to itself.
Time Machine::queue_of(std::size_t t) const {
  Time end = now_;
  for (const Job& job : programs_[t].jobs)
    end = (job.began != 0 ? now_ : std::max(end, job.since + job.floor)) + after(job.left);
  return end - now_;
}

Time Machine::next_event(const Arbiter& arbiter) const {
  Time next = std::min(arbiter.wake_at(), trace_.until + start_);
  if (next_request_ < trace_.requests.size()) next = std::min(next, trace_.requests[next_request_].at + start_);
  if (!probes_.empty()) next = std::min(next, probes_.front().first);
  double running = 0;
  for (std::size_t t = 0; t < programs_.size(); ++t) running += runs(t);
  for (std::size_t t = 0; t < programs_.size(); ++t) {
    next = std::min(next, programs_[t].drained_at);
    if (runs(t) && !programs_[t].jobs.empty())
      next = std::min(next, now_ + after(programs_[t].jobs.front().left * running));
    if (leaves(t)) next = std::min(next, now_ + after(chunk_left(t) / rate_out(t)));
    if (comes(t)) next = std::min(next, now_ + after(chunk_left(t) / rate_in()));
  }
  return std::max(next, now_);
}

void Machine::advance(Time to) {
  const double passed = seconds(to - now_);
  double running = 0;
  for (std::size_t t = 0; t < programs_.size(); ++t) running += runs(t);
  std::vector<double> moved(programs_.size());
  for (std::size_t t = 0; t < programs_.size(); ++t)
    moved[t] = leaves(t) ? rate_out(t) * passed : comes(t) ? rate_in() * passed : 0;
  for (std::size_t t = 0; t < programs_.size(); ++t) {
    Program& p = programs_[t];
    p.moved = moved[t] > 0 ? p.moved + moved[t] : 0;
    if (!runs(t)) continue;
    p.computed += passed / running;
    client(t).last_submission = to;
    if (!p.jobs.empty()) p.jobs.front().left -= passed / running;
  }
  for (const Program& p : programs_)
    if (!p.jobs.empty() && p.jobs.front().began == 0) outcome_.waited += passed;  // the others wait for their own like
  now_ = to;
}

void Machine::settle() {
  for (; next_request_ < trace_.requests.size() && trace_.requests[next_request_].at + start_ <= now_; ++next_request_)
    arrive(trace_.requests[next_request_]);
  for (; !probes_.empty() && probes_.front().first <= now_; probes_.pop_front()) {
    Client& c = client(probes_.front().second);
    c.waiting -= c.waiting > 0;
    c.last_request_activity = now_;
    c.proven = learned_[probes_.front().second];
  }
  for (std::size_t t = 0; t < programs_.size(); ++t) {
    Program& p = programs_[t];
    Client& c = client(t);
    if (p.drained_at <= now_) {
      p.drained_at = never;
      c.phase = {c.gate.generation, Phase::drained, Overdue::none};
    }
    if ((leaves(t) || comes(t)) && chunk_left(t) <= 0.5) {
      const auto bytes = static_cast<Bytes>(std::llround(p.moved + chunk_left(t)));
      (leaves(t) ? p.out : p.in) += bytes;
      leaves(t) ? c.resident -= std::min(bytes, c.resident) : c.resident += bytes;
      p.untouched = leaves(t) ? p.untouched - std::min(bytes, p.untouched) : p.untouched + bytes;
      p.moved = 0;
    }
    if (c.resident >= c.needed) p.untouched = 0;
    if (c.resident < c.needed)
      c.whole_since = 0;
    else if (c.whole_since == 0)
      c.whole_since = now_;
    measure(c);
    if (runs(t) && !p.jobs.empty() && p.jobs.front().left <= 1e-9) end_stage(t);
    demand(t);
  }
}

// A program with work submits it: it passes, or waits at the gate.
void Machine::demand(std::size_t t) {
  Client& c = client(t);
  const bool passes = c.gate.state != GateState::closed;
  if (passes) c.wants = false;
  if (!has_work(t)) return;
  if (!passes && !c.wants) c.wants = true, c.wants_since = now_;
  Program& p = programs_[t];
  if (!runs(t)) return;
  c.last_submission = now_;
  if (p.jobs.empty() || p.jobs.front().began != 0) return;
  Job& job = p.jobs.front();
  job.began = now_;
  outcome_.answered.push_back({now_ - job.since, job.floor});
  learned_[t] = c.proven = true;
}

void Machine::arrive(const Request& r) {
  const std::size_t index = next_request_;
  if (r.probe) {
    Client& c = client(r.stages[0].tenant);
    ++c.waiting;
    c.last_arrival = c.last_request_activity = now_;
    c.proven = false;
    return probes_.push_back({now_ + probe_time, r.stages[0].tenant});
  }
  if (r.nested) {
    Client& outer = client(r.stages[0].tenant);
    ++outer.waiting;  // answered when all is over; begin_stage counts each stage besides
  }
  begin_stage(index, 0);
}

void Machine::begin_stage(std::size_t request, std::size_t stage) {
  const Stage& s = trace_.requests[request].stages[stage];
  Client& c = client(s.tenant);
  const bool idle = programs_[s.tenant].jobs.empty() && c.last_submission != 0 && c.last_submission < now_;
  if (idle) policy::note_gap(c.gaps, now_ - c.last_submission);
  if (c.klass != Class::interactive) {  // a notebook has no port
    ++c.waiting;
    c.last_arrival = c.last_request_activity = now_;
    c.proven = learned_[s.tenant];
  }
  const Time floor = std::max(floor_of(s.tenant), queue_of(s.tenant));
  programs_[s.tenant].jobs.push_back({request, stage, now_, 0, seconds(s.work), floor});
}

void Machine::end_stage(std::size_t t) {
  const Job job = programs_[t].jobs.front();
  programs_[t].jobs.pop_front();
  Client& c = client(t);
  c.waiting -= c.waiting > 0;
  c.last_request_activity = now_;
  const Request& r = trace_.requests[job.request];
  if (job.stage + 1 < r.stages.size()) return begin_stage(job.request, job.stage + 1);
  if (!r.nested) return;
  Client& outer = client(r.stages[0].tenant);
  outer.waiting -= outer.waiting > 0;
  outer.last_request_activity = now_;
}

// As a shim answers a decision: at once, but for the kernel that still runs.
void Machine::see(std::size_t t, const Client& before) {
  Client& c = client(t);
  if (c.quota) c.quota_high = *c.quota;
  if (c.gate == before.gate) return;
  const bool ran = has_work(t) && before.gate.state != GateState::closed && before.resident >= before.needed;
  c.seen_gate = c.gate;
  programs_[t].drained_at = never;
  if (c.gate.state != GateState::closed) {
    c.phase = {c.gate.generation, Phase::running, Overdue::none};
    return;
  }
  const Time kernel = ran ? trace_.tenants[t].kernel : 0;
  c.phase = {c.gate.generation, Phase::draining, Overdue::none};
  programs_[t].drained_at = now_ + (kernel ? random_() % kernel : 0);
}

void Machine::pass_lease(std::size_t t) {
  if (client(t).resident < client(t).needed) {
    ++outcome_.switches;
    outcome_.switch_floor += floor_of(t);
  }
  rises_ = client(t).klass > holder_class_;
  falls_ = client(t).klass < holder_class_;
  holder_class_ = client(t).klass;
}

// How long the last switch to a higher class and the last one back took, as the broker measures them.
void Machine::measure(const Client& c) {
  if (c.lease_since == 0 || c.whole_since < c.lease_since) return;
  if (rises_) there_ = c.whole_since - c.lease_since;
  if (falls_) back_ = c.whole_since - c.lease_since;
  rises_ = falls_ = false;
  state_.gpu.round_trip = there_ && back_ ? there_ + back_ : 0;
}

void Machine::consult(Arbiter& arbiter) {
  for (unsigned n = 0; n < most_answers; ++n) {
    const auto before = state_.clients;
    arbiter.decide(state_, now_);
    bool changed = false;
    for (std::size_t t = 0; t < programs_.size(); ++t) {
      const Client& was = before[t];
      if (was.lease_since == 0 && client(t).lease_since != 0) pass_lease(t);
      changed = changed || was.gate != client(t).gate || was.quota != client(t).quota;
      see(t, was);
    }
    settle();
    if (!changed) return;
  }
}

Outcome Machine::run(Arbiter& arbiter) {
  settle();
  consult(arbiter);
  while (now_ < trace_.until + start_) {
    advance(next_event(arbiter));
    settle();
    consult(arbiter);
  }
  outcome_.seconds = seconds(trace_.until);
  for (std::size_t t = 0; t < programs_.size(); ++t) {
    const Program& p = programs_[t];
    outcome_.of_tenant.push_back(p.computed);
    (trace_.tenants[t].klass == Class::training ? outcome_.trained : outcome_.busy) += p.computed;
    outcome_.out += p.out;
    outcome_.in += p.in;
  }
  return outcome_;
}

}  // namespace lull::replay

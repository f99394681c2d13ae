// tests/replay/machine.h: a card, its link and its tenants' programs, as far as an arbiter can tell. Time goes from
// event to event; nothing is random but where in its kernel a program is caught, and that is seeded.
//
// Tenants compute while their gate is open and all their memory is there, in equal shares of the card. Memory moves in
// chunks, one tenant's out and one's in at a time. The state that arbiters see is the policy's own (broker/policy.h),
// answered as shims would.
#pragma once
#include <deque>
#include <memory>
#include <random>

#include "tests/replay/trace.h"

namespace lull::replay {

// One stage of a request: `since` it was asked for, `began` its first kernel.
struct Job {
  std::size_t request, stage;
  Time since, began = 0;
  double left;  // seconds of the card
  Time floor;   // until it can begin at the earliest, as things were when it was asked for
};

struct Program {
  std::deque<Job> jobs;
  Time drained_at = policy::never;
  double moved = 0;     // bytes of the chunk that is on its way
  double computed = 0;  // seconds of the whole card
  Bytes untouched = 0;  // came back, and has not been let in since
  Bytes out = 0, in = 0;
};

struct Answered {
  Time latency, floor;  // from the arrival of a stage to its first kernel, and at the least
};

// Decides who has the card. Called after every event, until it changes nothing more.
class Arbiter {
 public:
  virtual ~Arbiter() = default;
  virtual void decide(policy::State&, Time now) = 0;
  virtual Time wake_at() const = 0;  // to be asked again then, at the latest
};

struct Outcome {
  double seconds = 0, busy = 0, trained = 0,
         waited = 0;  // of the card; `waited`: of requests, before their first kernels
  std::vector<Answered> answered;
  std::vector<double> of_tenant;  // seconds of the card
  std::uint64_t switches = 0;     // times a tenant began to move in
  Time switch_floor = 0;          // what they took at the least, together
  Bytes out = 0, in = 0;
};

class Machine {
 public:
  Machine(const Trace&, const policy::Rules&, std::uint64_t seed);
  Outcome run(Arbiter&);

 private:
  using Client = policy::Client;

  Time next_event(const Arbiter&) const;
  void advance(Time to);
  void settle();  // what is over: copies, kernels, jobs, drains, arrivals
  void consult(Arbiter&);
  void see(std::size_t tenant, const Client& before);
  void arrive(const Request&);
  void begin_stage(std::size_t request, std::size_t stage);
  void end_stage(std::size_t tenant);
  void demand(std::size_t tenant);
  void pass_lease(std::size_t to);
  void measure(const Client&);

  bool has_work(std::size_t tenant) const;
  bool runs(std::size_t tenant) const;
  bool leaves(std::size_t tenant) const;
  bool comes(std::size_t tenant) const;
  double rate_out(std::size_t tenant) const;
  double rate_in() const;
  double chunk_left(std::size_t tenant) const;
  Time floor_of(std::size_t tenant) const;  // what moving the memory it lacks takes at the least
  Time queue_of(std::size_t tenant) const;
  Client& client(std::size_t tenant) { return state_.clients[tenant]; }
  const Client& client(std::size_t tenant) const { return state_.clients[tenant]; }

  const Trace& trace_;
  policy::State state_;
  std::vector<Program> programs_;
  std::mt19937_64 random_;
  Time now_ = policy::second;  // 0 means "never" in some of the policy's fields
  Time start_ = now_;
  std::size_t next_request_ = 0;
  std::deque<std::pair<Time, std::size_t>> probes_;  // when they end
  std::vector<bool> learned_;                        // an arrival there has led to work
  Time there_ = 0, back_ = 0;
  bool rises_ = false, falls_ = false;  // the switch under way goes to a higher class, to a lower one
  Class holder_class_ = Class::training;
  Outcome outcome_;
};

}  // namespace lull::replay

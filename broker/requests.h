// broker/requests.h: requests on their way to services, as the kernel programs see them, in terms of clients.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bpf/loader.h"
#include "broker/policy.h"

namespace lull {

class Requests {
 public:
  // What is seen, in the order in which it is told: first the arrivals and listens, then the counts.
  struct Sink {
    std::function<void(policy::ClientId, policy::Time at)> arrived;
    std::function<void(policy::ClientId)> listens;
    std::function<void(policy::ClientId, const Arrivals::Counters&)> counted;
  };
  // Works without the kernel programs, too: nothing is ever seen then. `notes`: for the log, a line each.
  static Requests load(std::vector<std::string>& notes);

  bool on() const { return arrivals_ != nullptr; }
  int poll_fd() const { return arrivals_->poll_fd(); }
  // False: the process cannot be watched; *why_not is a sentence.
  bool watch(policy::ClientId, int pid, std::string* why_not);
  bool listens(policy::ClientId) const;  // already has a listening socket: it is past its start
  void forget(policy::ClientId);
  void consume(const Sink&);          // after poll_fd became readable
  void recount(const Sink&);          // now and then: hints may be missing
  void look_again(policy::Time now);  // at the sockets of one of the watched processes, in turn; once a second at most

 private:
  struct Service {
    policy::ClientId client = 0;  // 0: free
    int pid = 0;
    Arrivals::Counters counters;
    policy::Time next_look = 0;
    policy::Time pause = policy::second;  // between looks; doubled each time, because sockets appear early in a life
  };
  void count(std::uint32_t service, const Sink&);
  std::unique_ptr<Arrivals> arrivals_;
  std::vector<Service> services_;
  std::size_t next_look_ = 0;
};

}  // namespace lull

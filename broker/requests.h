// broker/requests.h: requests on their way to services, as the kernel programs see them, in terms of clients.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bpf/loader.h"
#include "broker/config.h"
#include "broker/policy.h"
#include "broker/request_kinds.h"

namespace lull {

class Requests {
 public:
  // What is seen, in the order in which it is told: first what has happened, then the counts.
  struct Sink {
    std::function<void(policy::ClientId, policy::Time at, const RequestKind*)> arrived;  // null: not known which kind
    std::function<void(policy::ClientId, policy::Time at)> connects;  // perhaps somebody is about to ask
    std::function<void(policy::ClientId)> listens;
    std::function<void(policy::ClientId, const Arrivals::Counters&)> counted;
    std::function<void(int pid)> exits;
    std::function<void(const DeviceOpen&)> opens;
  };
  // Works without the kernel programs, too: nothing is ever seen then. `notes`: for the log, a line each.
  static Requests load(std::vector<std::string>& notes);

  bool on() const { return arrivals_ != nullptr; }
  int poll_fd() const { return arrivals_->poll_fd(); }
  // False: the process cannot be watched; *why_not is a sentence. `cgroup`: of the service alone; 0: none.
  bool watch(policy::ClientId, int pid, const ServiceConfig&, std::uint64_t cgroup, std::string* why_not);
  void set_filter(policy::ClientId, const ServiceConfig&);
  void watch_exit(int pid);                        // of a client that is no service
  bool watch_devices(const std::vector<Device>&);  // false: opens are not reported, only who has one open now
  bool listens(policy::ClientId) const;            // already has a listening socket: it is past its start
  std::vector<std::uint16_t> ports(policy::ClientId) const;
  Arrivals::Counters counters(policy::ClientId) const;
  void forget(policy::ClientId);
  void consume(const Sink&);          // after poll_fd became readable
  void recount(const Sink&);          // now and then: hints may be missing
  void look_again(policy::Time now);  // at the sockets of one of the watched processes, in turn; once a second at most

 private:
  struct Service {
    policy::ClientId client = 0;  // 0: free
    int pid = 0;
    bool by_sockets = true;  // its own listening sockets count, not only ports that the configuration names
    Arrivals::Counters counters;
    std::uint64_t announced = 0;  // arrivals that were told of one by one since the last count
    policy::Time next_look = 0;
    policy::Time pause = policy::second;  // between looks; doubled each time, because sockets appear early in a life
  };
  const Service* find(policy::ClientId) const;
  std::uint32_t id_of(const Service& service) const { return static_cast<std::uint32_t>(&service - services_.data()); }
  void on_event(const Event&, const Sink&, std::vector<std::uint32_t>& touched);
  void count(std::uint32_t service, const Sink&);
  std::unique_ptr<Arrivals> arrivals_;
  std::vector<Service> services_;
  std::size_t next_look_ = 0;
  policy::Time longest_pause_ = 32 * policy::second;
};

}  // namespace lull

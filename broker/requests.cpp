#include "broker/requests.h"

#include <algorithm>

namespace lull {
namespace {

constexpr policy::Time longest_pause = 32 * policy::second;

}  // namespace

Requests Requests::load(std::vector<std::string>& notes) {
  Requests requests;
  std::string why_not;
  requests.arrivals_ = Arrivals::load(&why_not);
  if (!requests.arrivals_) {
    notes.push_back("no early wake: " + why_not);
    return requests;
  }
  for (auto& note : requests.arrivals_->notes()) notes.push_back(std::move(note));
  return requests;
}

bool Requests::watch(policy::ClientId client, int pid, std::string* why_not) {
  if (!arrivals_) return true;
  auto free = std::find_if(services_.begin(), services_.end(), [](const Service& s) { return s.client == 0; });
  if (free == services_.end()) {
    if (services_.size() >= max_services) {
      *why_not = "too many services are watched";
      return false;
    }
    free = services_.emplace(services_.end());
  }
  if (!arrivals_->watch(static_cast<std::uint32_t>(free - services_.begin()), pid, why_not)) return false;
  *free = Service{.client = client, .pid = pid};
  return true;
}

bool Requests::listens(policy::ClientId client) const {
  const auto at =
      std::find_if(services_.begin(), services_.end(), [&](const Service& s) { return s.client == client; });
  return at != services_.end() && !arrivals_->ports(static_cast<std::uint32_t>(at - services_.begin())).empty();
}

void Requests::forget(policy::ClientId client) {
  for (std::uint32_t id = 0; id < services_.size(); ++id) {
    if (services_[id].client != client) continue;
    arrivals_->forget(id);
    services_[id] = {};
  }
}

void Requests::consume(const Sink& sink) {
  std::vector<std::uint32_t> touched;
  arrivals_->consume([&](const Event& event) {
    if (event.service >= services_.size() || services_[event.service].client == 0) return;
    const auto client = services_[event.service].client;
    if (event.kind == EventKind::arrival) sink.arrived(client, event.time_ns);
    if (event.kind == EventKind::listen) sink.listens(client);
    touched.push_back(event.service);
  });
  for (const auto service : touched) count(service, sink);
}

void Requests::recount(const Sink& sink) {
  for (std::uint32_t id = 0; id < services_.size(); ++id)
    if (services_[id].client != 0) count(id, sink);
}

void Requests::count(std::uint32_t id, const Sink& sink) {
  auto& service = services_[id];
  const auto counters = arrivals_->counters(id);
  if (counters == service.counters) return;
  if (counters.arrivals != service.counters.arrivals && counters.last_in_ns > service.counters.last_in_ns)
    sink.arrived(service.client, counters.last_in_ns);  // also those whose event was lost
  service.counters = counters;
  sink.counted(service.client, counters);
}

void Requests::look_again(policy::Time now) {
  if (!arrivals_ || services_.empty()) return;
  next_look_ = (next_look_ + 1) % services_.size();
  auto& service = services_[next_look_];
  if (service.client == 0 || now < service.next_look) return;
  service.next_look = now + service.pause;
  service.pause = std::min(2 * service.pause, longest_pause);
  // What fails here has failed before, when the client came, and was reported then; or the process is just going.
  (void)arrivals_->watch(static_cast<std::uint32_t>(next_look_), service.pid);
}

}  // namespace lull

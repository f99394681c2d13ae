#include "broker/requests.h"

#include <algorithm>

#include "broker/service_rules.h"

namespace lull {
Requests Requests::load(std::vector<std::string>& notes) {
  Requests requests;
  std::string why_not;
  requests.arrivals_ = Arrivals::load(&why_not);
  if (!requests.arrivals_) {
    notes.push_back("no early wake: " + why_not);
    return requests;
  }
  const auto missing = requests.arrivals_->notes();
  if (missing.empty()) requests.longest_pause_ = 512 * policy::second;  // new sockets are announced: only for strays
  notes.insert(notes.end(), missing.begin(), missing.end());
  return requests;
}

bool Requests::watch(policy::ClientId client, int pid, const ServiceConfig& config, std::uint64_t cgroup,
                     std::string* why_not) {
  if (!arrivals_) return true;
  auto free = std::find_if(services_.begin(), services_.end(), [](const Service& s) { return s.client == 0; });
  if (free == services_.end()) {
    if (services_.size() >= max_services) {
      *why_not = "too many services are watched";
      return false;
    }
    free = services_.emplace(services_.end());
  }
  const std::uint32_t id = id_of(*free);
  bool all = true;
  for (const auto& text : config.wake_on)
    if (const auto port = parse_work_port(text)) all = arrivals_->watch_outgoing(id, *port, why_not) && all;
  for (const auto& text : config.ports)
    if (const auto port = parse_port(text)) all = arrivals_->watch_port(id, *port, why_not) && all;
  const bool by_sockets = config.ports.empty() || !config.wake_on.empty();
  if (by_sockets) all = arrivals_->watch(id, pid, why_not) && all;
  if (config.ports.empty() && cgroup != 0) all = arrivals_->watch_cgroup(id, cgroup, why_not) && all;
  if (!by_sockets) arrivals_->watch_exit(pid);
  if (!all) {
    arrivals_->forget(id);
    return false;
  }
  arrivals_->set_filter(id, make_filter(config.min_request_bytes, config.ignore, config.ignore_from));
  *free = Service{.client = client, .pid = pid, .by_sockets = by_sockets};
  return true;
}

const Requests::Service* Requests::find(policy::ClientId client) const {
  const auto at =
      std::find_if(services_.begin(), services_.end(), [&](const Service& s) { return s.client == client; });
  return at == services_.end() ? nullptr : &*at;
}

void Requests::set_filter(policy::ClientId client, const ServiceConfig& config) {
  if (const auto* service = find(client))
    arrivals_->set_filter(id_of(*service), make_filter(config.min_request_bytes, config.ignore, config.ignore_from));
}

void Requests::watch_exit(int pid) {
  if (arrivals_) arrivals_->watch_exit(pid);
}

bool Requests::watch_devices(const std::vector<Device>& devices) {
  return arrivals_ && arrivals_->watch_devices(devices);
}

bool Requests::listens(policy::ClientId client) const { return !ports(client).empty(); }

std::vector<std::uint16_t> Requests::ports(policy::ClientId client) const {
  const auto* service = find(client);
  return service ? arrivals_->ports(id_of(*service)) : std::vector<std::uint16_t>();
}

Arrivals::Counters Requests::counters(policy::ClientId client) const {
  const auto* service = find(client);
  return service ? arrivals_->counters(id_of(*service)) : Arrivals::Counters();
}

void Requests::forget(policy::ClientId client) {
  for (std::uint32_t id = 0; id < services_.size(); ++id) {
    if (services_[id].client != client) continue;
    arrivals_->forget(id);
    services_[id] = {};
  }
}

void Requests::on_event(const Event& event, const Sink& sink, std::vector<std::uint32_t>& touched) {
  if (event.kind == EventKind::exit) sink.exits(static_cast<int>(event.tgid));
  if (event.service >= services_.size() || services_[event.service].client == 0) return;
  auto& service = services_[event.service];
  if (event.kind == EventKind::arrival) {
    const auto kind = kind_of(event.port, event.look);
    ++service.announced;
    sink.arrived(service.client, event.time_ns, &kind);
  }
  if (event.kind == EventKind::syn) sink.connects(service.client, event.time_ns);
  if (event.kind == EventKind::listen) sink.listens(service.client);
  if (touched.empty() || touched.back() != event.service) touched.push_back(event.service);
}

void Requests::consume(const Sink& sink) {
  std::vector<std::uint32_t> touched;
  std::vector<Event> events;  // a sink may forget a service: not while the ring is read
  arrivals_->consume([&](const Event& event) { events.push_back(event); }, sink.opens);
  for (const auto& event : events) on_event(event, sink, touched);
  for (const auto service : touched) count(service, sink);
}

void Requests::recount(const Sink& sink) {
  for (std::uint32_t id = 0; id < services_.size(); ++id)
    if (services_[id].client != 0) count(id, sink);
}

void Requests::count(std::uint32_t id, const Sink& sink) {
  auto& service = services_[id];
  if (service.client == 0) return;
  const auto counters = arrivals_->counters(id);
  if (counters == service.counters) return;
  const auto expected = service.counters.arrivals + std::exchange(service.announced, 0);
  if (counters.arrivals > expected && counters.last_in_ns > service.counters.last_in_ns)
    sink.arrived(service.client, counters.last_in_ns, nullptr);  // one whose event was lost
  service.counters = counters;
  sink.counted(service.client, counters);
}

void Requests::look_again(policy::Time now) {
  if (!arrivals_ || services_.empty()) return;
  next_look_ = (next_look_ + 1) % services_.size();
  auto& service = services_[next_look_];
  if (service.client == 0 || !service.by_sockets || now < service.next_look) return;
  service.next_look = now + service.pause;
  service.pause = std::min(2 * service.pause, longest_pause_);
  // What fails here has failed before, when the client came, and was reported then; or the process is just going.
  (void)arrivals_->watch(static_cast<std::uint32_t>(next_look_), service.pid);
}

}  // namespace lull

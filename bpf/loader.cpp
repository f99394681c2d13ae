#include "bpf/loader.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bpf/cgroup_root.h"
#include "bpf/kernel.h"

namespace lull {
namespace {

template <class T>
T load_word(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);  // the programs change it at any moment
}

bool fail(std::string* why_not, std::string sentence) {
  if (why_not != nullptr) *why_not = std::move(sentence);
  return false;
}

// Begins a new epoch for a service that is not watched. Counters before the rule: nothing counts in between.
void begin(Arrivals::Kernel& kernel, std::uint32_t service) {
  if (kernel.epoch[service] != 0) return;
  if (++kernel.last_epoch == 0) ++kernel.last_epoch;
  kernel.epoch[service] = kernel.last_epoch;
  const lull_service zero{};
  const lull_rule rule{kernel.last_epoch, 0, 0, 0, {}};
  (void)bpf_map_update_elem(kernel.maps.services, &service, &zero, BPF_ANY);  // an array within bounds cannot fail
  (void)bpf_map_update_elem(kernel.maps.rules, &service, &rule, BPF_ANY);
}

constexpr std::uint32_t port_key(std::uint16_t port) { return std::uint32_t{IPPROTO_TCP} << 16 | port; }

void set_named(Arrivals::Kernel& kernel, std::uint16_t port, bool named) {
  std::uint64_t& word = kernel.named_ports[port / 64];
  const std::uint64_t bit = std::uint64_t{1} << (port % 64);
  __atomic_store_n(&word, named ? word | bit : word & ~bit, __ATOMIC_RELEASE);
}

}  // namespace

Arrivals::Arrivals(std::unique_ptr<Kernel> kernel) : kernel_(std::move(kernel)) {}
Arrivals::~Arrivals() = default;

std::unique_ptr<Arrivals> Arrivals::load(std::string* why_not, Programs programs) {
  auto kernel = std::make_unique<Kernel>();
  std::string sentence;
  const Handle cgroup_root = open_cgroup_root();
  if (!kernel->load_packets(&sentence) || !kernel->start_ring(&sentence) ||
      !kernel->attach_packets(cgroup_root, &sentence)) {
    (void)fail(why_not, std::move(sentence));
    return nullptr;
  }
  if (programs == Programs::all) kernel->load_tracing(cgroup_root);
  return std::unique_ptr<Arrivals>(new Arrivals(std::move(kernel)));
}

std::vector<std::string> Arrivals::notes() const { return kernel_->notes; }

int Arrivals::poll_fd() const { return ring_buffer__epoll_fd(kernel_->ring.get()); }

void Arrivals::consume(const std::function<void(const Event&)>& sink,
                       const std::function<void(const DeviceOpen&)>& devices) {
  kernel_->sink = &sink;
  kernel_->device_sink = &devices;
  (void)ring_buffer__consume(kernel_->ring.get());  // fails only when the sink's wrapper does, which it never does
  kernel_->sink = nullptr;
  kernel_->device_sink = nullptr;
  for (const auto& open : std::exchange(kernel_->found_open, {}))
    if (devices) devices(open);
  for (const auto& late : std::exchange(kernel_->late, {}))
    if (kernel_->epoch[late.service] != 0) (void)take_inventory(*kernel_, late.service, late.pid);  // gone: no sockets
}

bool Arrivals::watch(std::uint32_t service, int pid, std::string* why_not) {
  if (service >= max_services) return fail(why_not, "cannot watch service " + std::to_string(service) + ": too many");
  const bool fresh = kernel_->epoch[service] == 0;
  begin(*kernel_, service);
  const auto tgid = static_cast<std::uint32_t>(pid);
  const std::uint32_t service_plus_1 = service + 1;
  // Before the inventory: a listen() in between is found by one of the two.
  if (kernel_->by_tgid_works) (void)bpf_map_update_elem(kernel_->maps.by_tgid, &tgid, &service_plus_1, BPF_ANY);
  const bool found = pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM) && take_inventory(*kernel_, service, pid);
  if (found) return true;
  const int error = pid > 0 ? errno : ESRCH;
  if (kernel_->by_tgid_works) (void)bpf_map_delete_elem(kernel_->maps.by_tgid, &tgid);
  if (fresh) forget(service);
  return fail(why_not, "cannot see the sockets of process " + std::to_string(pid) + ": " + std::strerror(error));
}

bool Arrivals::watch_cgroup(std::uint32_t service, std::uint64_t cgroup, std::string* why_not) {
  if (service >= max_services) return fail(why_not, "cannot watch service " + std::to_string(service) + ": too many");
  begin(*kernel_, service);
  const std::uint32_t service_plus_1 = service + 1;
  if (bpf_map_update_elem(kernel_->maps.by_cgroup, &cgroup, &service_plus_1, BPF_ANY) == 0) return true;
  return fail(why_not, std::string("cannot watch a cgroup: ") + std::strerror(errno));
}

bool Arrivals::watch_outgoing(std::uint32_t service, std::uint16_t port, std::string* why_not) {
  if (service >= max_services) return fail(why_not, "cannot watch service " + std::to_string(service) + ": too many");
  begin(*kernel_, service);
  const lull_service_port key{static_cast<__u16>(service), port};
  const std::uint8_t one = 1;
  if (port != 0 && bpf_map_update_elem(kernel_->maps.wake_on, &key, &one, BPF_ANY) == 0) return true;
  return fail(why_not, "cannot watch connections to port " + std::to_string(port));
}

void Arrivals::watch_exit(int pid) {
  const auto tgid = static_cast<std::uint32_t>(pid);
  const std::uint32_t no_service = 0;
  if (kernel_->by_tgid_works) (void)bpf_map_update_elem(kernel_->maps.by_tgid, &tgid, &no_service, BPF_NOEXIST);
}

bool Arrivals::watch_port(std::uint32_t service, std::uint16_t port, std::string* why_not) {
  if (service >= max_services) return fail(why_not, "cannot watch service " + std::to_string(service) + ": too many");
  if (port == 0) return fail(why_not, "cannot watch port 0");
  begin(*kernel_, service);
  const std::uint32_t key = port_key(port), service_plus_1 = service + 1;
  if (bpf_map_update_elem(kernel_->maps.by_port, &key, &service_plus_1, BPF_ANY) != 0)
    return fail(why_not, "cannot watch port " + std::to_string(port) + ": " + std::strerror(errno));
  set_named(*kernel_, port, true);
  return true;
}

void Arrivals::forget(std::uint32_t service) {
  if (service >= max_services || kernel_->epoch[service] == 0) return;
  const lull_rule off{};
  (void)bpf_map_update_elem(kernel_->maps.rules, &service, &off, BPF_ANY);
  kernel_->epoch[service] = 0;
  const Maps& maps = kernel_->maps;  // a delete that fails: the entry has gone by itself
  for_each_entry<std::uint32_t, std::uint32_t>(maps.by_tgid, [&](std::uint32_t tgid, std::uint32_t service_plus_1) {
    if (service_plus_1 == service + 1) (void)bpf_map_delete_elem(maps.by_tgid, &tgid);
  });
  for_each_entry<std::uint64_t, std::uint32_t>(maps.by_cgroup, [&](std::uint64_t id, std::uint32_t service_plus_1) {
    if (service_plus_1 == service + 1) (void)bpf_map_delete_elem(maps.by_cgroup, &id);
  });
  for (const int map : {maps.listening, maps.wake_on})
    for_each_entry<lull_service_port, std::uint8_t>(map, [&](const lull_service_port& key, std::uint8_t) {
      if (key.service == service) (void)bpf_map_delete_elem(map, &key);
    });
  clear_filter(*kernel_, service);
  for_each_entry<std::uint32_t, std::uint32_t>(maps.by_port, [&](std::uint32_t key, std::uint32_t service_plus_1) {
    if (service_plus_1 != service + 1) return;
    (void)bpf_map_delete_elem(maps.by_port, &key);
    set_named(*kernel_, static_cast<std::uint16_t>(key & 0xffff), false);
  });
}

Arrivals::Counters Arrivals::counters(std::uint32_t service) const {
  if (service >= max_services || kernel_->epoch[service] == 0) return {};
  const lull_service& s = kernel_->services[service];
  return {load_word(s.waiting),     load_word(s.arrivals),   load_word(s.ignored),
          load_word(s.completions), load_word(s.last_in_ns), load_word(s.last_out_ns)};
}

std::vector<std::uint16_t> Arrivals::ports(std::uint32_t service) const {
  std::vector<std::uint16_t> found;
  for_each_entry<lull_service_port, std::uint8_t>(kernel_->maps.listening,
                                                  [&](const lull_service_port& key, std::uint8_t) {
                                                    if (key.service == service) found.push_back(key.port);
                                                  });
  for_each_entry<std::uint32_t, std::uint32_t>(kernel_->maps.by_port,
                                               [&](std::uint32_t key, std::uint32_t service_plus_1) {
                                                 if (service_plus_1 != service + 1) return;
                                                 found.push_back(static_cast<std::uint16_t>(key & 0xffff));
                                               });
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace lull

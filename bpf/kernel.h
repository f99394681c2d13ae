// bpf/kernel.h: the loaded and attached programs of one Arrivals, and their maps. Known to bpf/ alone.
#pragma once
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bpf/events.h"
#include "bpf/handle.h"
#include "bpf/loader.h"

struct lull_arrival;  // the two skeletons, generated
struct lull_trace;

namespace lull {

struct Release {
  void operator()(lull_arrival*) const;
  void operator()(lull_trace*) const;
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  void operator()(bpf_link* link) const { (void)bpf_link__destroy(link); }
};
template <class T>
using Owned = std::unique_ptr<T, Release>;

// The services array as read-only memory of this process.
class Services {
 public:
  Services() = default;
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;
  ~Services();
  bool map(int map_fd);
  const lull_service& operator[](std::uint32_t id) const { return base_[id]; }

 private:
  const lull_service* base_ = nullptr;
};

struct Maps {  // descriptors owned by the objects
  int connections = -1, services = -1, rules = -1, listening = -1, wake_on = -1, by_tgid = -1, by_cgroup = -1,
      by_port = -1, paths = -1, sources = -1, devices = -1, events = -1;
};

struct Arrivals::Kernel {
  // What is declared first goes last.
  Owned<lull_arrival> packets;
  std::vector<Owned<lull_trace>> tracing;  // one object, or one for each program that loads
  std::vector<Owned<bpf_link>> links;
  Owned<ring_buffer> ring;
  Services services;
  Maps maps;
  int ingress = -1, egress = -1;         // descriptors of the packet programs
  std::uint64_t* named_ports = nullptr;  // bitmap in the packet programs' memory
  bpf_program* scanner = nullptr;        // the iterator and its argument; null: go through /proc
  lull_scan* scan = nullptr;
  bool by_tgid_works = false;  // somebody looks at maps.by_tgid, in the numbers this process uses

  std::array<std::uint32_t, max_services> epoch{};  // of each watched service; 0: not watched
  std::uint32_t last_epoch = 0;
  std::vector<std::string> notes;
  const std::function<void(const Event&)>* sink = nullptr;  // during consume() alone, as the next
  const std::function<void(const DeviceOpen&)>* device_sink = nullptr;
  std::vector<DeviceOpen> found_open;  // by /proc, for the next consume()
  bool sees_devices = false;           // opens are reported
  struct Late {
    std::uint32_t service;
    int pid;
  };
  std::vector<Late> late;  // listened before the kernel had chosen a port

  bool load_packets(std::string* why_not);  // all or nothing
  bool attach_packets(const Handle& cgroup_root, std::string* why_not);
  void load_tracing(const Handle& cgroup_root);  // as much as the kernel grants; the rest becomes notes
  bool start_ring(std::string* why_not);
};

// Forgets paths and sources of a service: bpf/filter.cpp.
void clear_filter(Arrivals::Kernel&, std::uint32_t service);

// One pass of the iterator over the open files of a process, of the host for 0. False with errno set.
bool iterate_files(Arrivals::Kernel&, const lull_scan& what, int pid);

// Calls f(key, value) for every entry; f may delete the entry it is given.
template <class Key, class Value, class F>
void for_each_entry(int map, F f) {
  std::vector<Key> keys;
  Key key{};
  for (bool first = true; bpf_map_get_next_key(map, first ? nullptr : &key, &key) == 0; first = false)
    keys.push_back(key);
  Value value{};
  for (const Key& one : keys)
    if (bpf_map_lookup_elem(map, &one, &value) == 0) f(one, value);
}

// Marks the sockets the process and its descendants have: bpf/inventory.cpp. False with errno set.
bool take_inventory(Arrivals::Kernel&, std::uint32_t service, int pid);

}  // namespace lull

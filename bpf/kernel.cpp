#include "bpf/kernel.h"

#include <linux/types.h>

#include "lull_arrival.skel.h"
#include "lull_trace.skel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace lull {

static_assert(LULL_MAX_SERVICES == max_services);
static_assert(sizeof(lull_event) == 72 && offsetof(lull_event, tgid) == 16 && offsetof(lull_event, port) == 20);
static_assert(offsetof(lull_event, path) == 28 && sizeof(RequestLook::path) == LULL_PATH_BYTES + 1);
static_assert(sizeof(lull_device_event) == 48 && offsetof(lull_device_event, kind) == offsetof(lull_event, kind));
static_assert(sizeof(lull_service) == 128 && offsetof(lull_service, arrivals) == 8);
static_assert(offsetof(lull_service, last_in_ns) == 48 && offsetof(lull_service, last_out_ns) == 56);
static_assert(sizeof(lull_connection) == 32 && sizeof(lull_rule) == 12);
static_assert(sizeof(lull_service_port) == 4 && sizeof(lull_scan) == 16);
static_assert(sizeof(lull_path_key) == 52 && sizeof(lull_source_key) == 24);

namespace {

constexpr std::size_t services_bytes = sizeof(lull_service) * max_services;

std::string failure(const std::string& what, int error) {
  std::string sentence = "requests are seen only when they reach the GPU: " + what + ": " + std::strerror(error);
  if (error == EPERM || error == EACCES)
    sentence += "; lulld needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, outside of any user namespace";
  return sentence;
}

// The numbers are fixed by the kernel for its first namespaces.
bool in_first_namespace(const char* path, ino_t first) {
  struct stat status;
  return ::stat(path, &status) == 0 && status.st_ino == first;
}
bool in_host_pid_namespace() { return in_first_namespace("/proc/self/ns/pid", 0xEFFFFFFC); }
bool in_host_cgroup_namespace() { return in_first_namespace("/proc/self/ns/cgroup", 0xEFFFFFFB); }

struct Tracing {
  const char* program;
  const char* tracepoint;  // null: none to look for
  const char* lost;        // the note when it cannot be had
};
constexpr Tracing tracing_programs[] = {
    {"lull_state", "inet_sock_set_state",
     "no listen and close events: new listening sockets are found only when looked for, given-up requests stay "
     "counted"},
    {"lull_exit", "sched_process_exit", "no exit hints: a process is missed only when its pidfd says so"},
    {"lull_files", nullptr,
     "no file iterator: existing sockets are found through /proc, which needs ptrace rights, and so are open devices"},
    {"lull_device", nullptr,
     "no device watch: programs that open a GPU without Lull are found only when they are looked for"},
};
constexpr unsigned state_bit = 1, exit_bit = 2, files_bit = 4, device_bit = 8;

bool exists(const Tracing& wanted) {
  return wanted.tracepoint == nullptr || libbpf_find_vmlinux_btf_id(wanted.tracepoint, BPF_TRACE_RAW_TP) > 0;
}

// Makes every map of the object that the packet programs have too the same map.
bool share_maps(bpf_object* object, const bpf_object* owner) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map)) continue;
    const bpf_map* shared = bpf_object__find_map_by_name(owner, bpf_map__name(map));
    if (shared == nullptr || bpf_map__reuse_fd(map, bpf_map__fd(shared)) != 0) return false;
  }
  return true;
}

// Loads those of `wanted` (bits by place in tracing_programs); null with errno: the kernel refuses one of them.
Owned<lull_trace> load_programs(unsigned wanted, const bpf_object* owner) {
  Owned<lull_trace> object(lull_trace::open());
  if (!object || !share_maps(object->obj, owner)) return nullptr;
  unsigned bit = 1;
  for (const Tracing& one : tracing_programs) {
    bpf_program* program = bpf_object__find_program_by_name(object->obj, one.program);
    (void)bpf_program__set_autoload(program, (wanted & bit) != 0);
    bit <<= 1;
  }
  return lull_trace::load(object.get()) == 0 ? std::move(object) : nullptr;
}

bool attach(Arrivals::Kernel& kernel, lull_trace& object, const Handle& cgroup_root, unsigned wanted) {
  const auto keep = [&](bpf_link* link) {
    if (link != nullptr) kernel.links.emplace_back(link);
    return link != nullptr;
  };
  if ((wanted & state_bit) != 0 && !keep(bpf_program__attach(object.progs.lull_state))) return false;
  if ((wanted & exit_bit) != 0 && !keep(bpf_program__attach(object.progs.lull_exit))) return false;
  if ((wanted & device_bit) != 0) {
    if (!keep(bpf_program__attach_cgroup(object.progs.lull_device, cgroup_root.get()))) return false;
    kernel.sees_devices = true;
  }
  if ((wanted & files_bit) != 0) {
    kernel.scanner = object.progs.lull_files;
    kernel.scan = &object.bss->scan;
  }
  return true;
}

// All of `wanted` or none.
bool trace_with(Arrivals::Kernel& kernel, const Handle& cgroup_root, unsigned wanted) {
  Owned<lull_trace> object = load_programs(wanted, kernel.packets->obj);
  const std::size_t links_before = kernel.links.size();
  if (!object) return false;
  if (!attach(kernel, *object, cgroup_root, wanted)) {
    kernel.links.resize(links_before);
    return false;
  }
  kernel.tracing.push_back(std::move(object));
  return true;
}

void on_device(Arrivals::Kernel& kernel, const lull_device_event& record) {
  if (!*kernel.device_sink) return;
  const auto* comm = reinterpret_cast<const char*>(record.comm);
  (*kernel.device_sink)({record.tgid, record.device >> LULL_MINOR_BITS, record.device & LULL_ANY_MINOR,
                         record.known != 0, record.cgroup, std::string(comm, ::strnlen(comm, sizeof(record.comm))),
                         record.time_ns});
}

void on_event(Arrivals::Kernel& kernel, const lull_event& record) {
  if (record.kind == LULL_EVENT_LISTEN && record.port == 0)
    kernel.late.push_back({record.service, static_cast<int>(record.tgid)});
  Event event{static_cast<EventKind>(record.kind),
              record.service,
              record.tgid,
              record.port,
              record.time_ns,
              {record.stream, record.method, record.bytes, {}}};
  std::memcpy(event.look.path.data(), record.path, sizeof(record.path));
  (*kernel.sink)(event);
}

int on_record(void* context, void* data, std::size_t bytes) {
  auto& kernel = *static_cast<Arrivals::Kernel*>(context);
  lull_event record;
  lull_device_event device;
  if (bytes == sizeof(device)) {
    std::memcpy(&device, data, sizeof(device));
    on_device(kernel, device);
  } else if (bytes == sizeof(record)) {
    std::memcpy(&record, data, sizeof(record));
    on_event(kernel, record);
  }
  return 0;
}

int quiet(libbpf_print_level, const char*, va_list) { return 0; }

}  // namespace

void Release::operator()(lull_arrival* object) const { lull_arrival::destroy(object); }
void Release::operator()(lull_trace* object) const { lull_trace::destroy(object); }

Services::~Services() {
  if (base_ != nullptr) (void)::munmap(const_cast<lull_service*>(base_), services_bytes);
}

bool Services::map(int map_fd) {
  void* base = ::mmap(nullptr, services_bytes, PROT_READ, MAP_SHARED, map_fd, 0);
  if (base == MAP_FAILED) return false;
  base_ = static_cast<const lull_service*>(base);
  return true;
}

bool Arrivals::Kernel::load_packets(std::string* why_not) {
  (void)libbpf_set_print(quiet);  // its many lines become one sentence
  packets.reset(lull_arrival::open());
  if (!packets || lull_arrival::load(packets.get()) != 0) {
    *why_not = failure("the kernel refuses the packet programs", errno);
    return false;
  }
  const auto& m = packets->maps;
  maps = {bpf_map__fd(m.connections), bpf_map__fd(m.services), bpf_map__fd(m.rules),     bpf_map__fd(m.listening),
          bpf_map__fd(m.wake_on),     bpf_map__fd(m.by_tgid),  bpf_map__fd(m.by_cgroup), bpf_map__fd(m.by_port),
          bpf_map__fd(m.paths),       bpf_map__fd(m.sources),  bpf_map__fd(m.devices),   bpf_map__fd(m.events)};
  ingress = bpf_program__fd(packets->progs.lull_ingress);
  egress = bpf_program__fd(packets->progs.lull_egress);
  named_ports = reinterpret_cast<std::uint64_t*>(packets->bss->named_ports);
  if (!services.map(maps.services)) {
    *why_not = failure("cannot map the counters", errno);
    return false;
  }
  if (!in_host_cgroup_namespace())
    notes.emplace_back("not in the host's cgroup namespace: requests to other containers are not seen");
  return true;
}

bool Arrivals::Kernel::attach_packets(const Handle& cgroup_root, std::string* why_not) {
  if (!cgroup_root) {
    *why_not = failure("no cgroup2 is mounted and none can be", errno);
    return false;
  }
  for (bpf_program* program : {packets->progs.lull_egress, packets->progs.lull_ingress}) {
    bpf_link* link = bpf_program__attach_cgroup(program, cgroup_root.get());
    if (link == nullptr) {
      *why_not = failure("cannot attach to the root of cgroup2 (bpftool cgroup show tells who has it)", errno);
      return false;
    }
    links.emplace_back(link);
  }
  return true;
}

void Arrivals::Kernel::load_tracing(const Handle& cgroup_root) {
  unsigned wanted = 0, bit = 1;
  for (const Tracing& one : tracing_programs) {
    if (exists(one)) wanted |= bit;
    bit <<= 1;
  }
  unsigned got = 0;
  if (trace_with(*this, cgroup_root, wanted)) {
    got = wanted;
  } else {
    for (bit = 1; bit <= wanted; bit <<= 1)  // one failing program fails its object: try each alone
      if ((wanted & bit) != 0 && trace_with(*this, cgroup_root, bit)) got |= bit;
  }
  bit = 1;
  for (const Tracing& one : tracing_programs) {
    if ((got & bit) == 0) notes.emplace_back(one.lost);
    bit <<= 1;
  }
  by_tgid_works = (got & (state_bit | exit_bit)) != 0 && in_host_pid_namespace();
  if (!in_host_pid_namespace())
    notes.emplace_back("no listen events and exit hints: not in the host's process namespace");
  (void)::malloc_trim(0);  // the kernel's type information was parsed: 5 MB that are not needed again
}

bool Arrivals::Kernel::start_ring(std::string* why_not) {
  ring.reset(ring_buffer__new(maps.events, on_record, this, nullptr));
  if (!ring) *why_not = failure("cannot read the event ring", errno);
  return ring != nullptr;
}

}  // namespace lull

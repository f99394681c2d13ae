// bpf/inventory.cpp: the sockets a process has already.
//
// First its listening sockets are marked (their ports are noted), then the connections with such a local port, in the
// process and in its descendants, which may hold what they accepted from the shared listener. By the iterator in the
// kernel where it exists; else through /proc and pidfd_getfd, which needs the right to trace the process.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bpf/head.h"
#include "bpf/kernel.h"

namespace lull {
namespace {

constexpr std::size_t max_descendants = 1024;  // a bound for whoever forks without end

std::string proc_path(int pid, const char* rest) { return "/proc/" + std::to_string(pid) + rest; }

struct CloseDirectory {
  void operator()(DIR* directory) const { (void)::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Calls f(number) for each entry of a /proc directory that is one. False: no such directory.
template <class F>
bool for_each_number(const std::string& path, F f) {
  const Directory directory(::opendir(path.c_str()));
  if (!directory) return false;
  while (const dirent* entry = ::readdir(directory.get()))
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') f(std::atoi(entry->d_name));
  return true;
}

struct CloseFile {
  void operator()(FILE* file) const { (void)std::fclose(file); }
};

std::vector<int> descendants(int pid) {
  std::vector<int> found{pid};
  for (std::size_t next = 0; next < found.size(); ++next) {
    const int parent = found[next];
    (void)for_each_number(proc_path(parent, "/task"), [&](int thread) {  // gone meanwhile: no children of interest
      const std::string list = proc_path(parent, "/task/") + std::to_string(thread) + "/children";
      const std::unique_ptr<FILE, CloseFile> file(std::fopen(list.c_str(), "re"));
      int child = 0;
      while (file && found.size() < max_descendants && std::fscanf(file.get(), "%d", &child) == 1)
        found.push_back(child);
    });
  }
  found.erase(found.begin());
  return found;
}

// ---- by the iterator

bool iterate(Arrivals::Kernel& kernel, lull_scan_what what, std::uint32_t service, int pid) {
  return iterate_files(kernel, {static_cast<std::uint32_t>(what), service, kernel.epoch[service], 0}, pid);
}

// ---- through /proc

struct TcpSocket {
  bool listens;
  std::uint16_t port, far_port;
};

std::uint16_t port_of(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (name(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

bool describe(int fd, TcpSocket* found) {
  int protocol = 0, listens = 0;
  socklen_t length = sizeof(int);
  if (::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0 || protocol != IPPROTO_TCP) return false;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) return false;
  *found = {listens != 0, port_of(fd, ::getsockname), port_of(fd, ::getpeername)};
  return found->port != 0;
}

bool is_new(const Arrivals::Kernel& kernel, std::uint32_t service, int fd) {
  lull_connection mark{};
  if (bpf_map_lookup_elem(kernel.maps.connections, &fd, &mark) != 0) return true;
  return mark.epoch != kernel.epoch[service] || mark.service_plus_1 != service + 1;
}

void mark_socket(Arrivals::Kernel& kernel, lull_scan_what what, std::uint32_t service, int fd) {
  TcpSocket found{};
  if (!describe(fd, &found) || found.listens != (what == LULL_SCAN_LISTENERS)) return;
  const lull_service_port key{static_cast<__u16>(service), found.port};
  std::uint8_t one = 1;
  if (found.listens) (void)bpf_map_update_elem(kernel.maps.listening, &key, &one, BPF_ANY);  // full: not listed
  std::uint32_t stream = LULL_STREAM_UNKNOWN;
  if (!found.listens && bpf_map_lookup_elem(kernel.maps.listening, &key, &one) != 0) {
    const lull_service_port work{static_cast<__u16>(service), found.far_port};
    if (bpf_map_lookup_elem(kernel.maps.wake_on, &work, &one) != 0) return;
    stream = LULL_STREAM_OUTGOING;
  }
  if (!is_new(kernel, service, fd)) return;
  const lull_connection mark{service + 1, kernel.epoch[service], LULL_IDLE, 0, 0, 0, stream, 0};
  (void)bpf_map_update_elem(kernel.maps.connections, &fd, &mark, BPF_ANY);  // closing meanwhile: nothing to count
}

bool is_socket(int pid, int number) {
  char target[16] = {};
  const std::string path = proc_path(pid, "/fd/") + std::to_string(number);
  return ::readlink(path.c_str(), target, sizeof(target) - 1) > 0 && std::strncmp(target, "socket:", 7) == 0;
}

bool borrow_each(Arrivals::Kernel& kernel, lull_scan_what what, std::uint32_t service, int pid) {
  const Handle process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return false;
  bool permitted = true;
  const bool listed = for_each_number(proc_path(pid, "/fd"), [&](int number) {
    if (!permitted || !is_socket(pid, number)) return;
    const Handle copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    if (copy) mark_socket(kernel, what, service, copy.get());
    if (!copy && errno != EBADF) permitted = false;
  });
  return listed && permitted;
}

bool pass(Arrivals::Kernel& kernel, lull_scan_what what, std::uint32_t service, int pid) {
  if (kernel.scanner != nullptr && iterate(kernel, what, service, pid)) return true;
  return borrow_each(kernel, what, service, pid);  // also where the iterator cannot be limited to a process (< 6.1)
}

}  // namespace

bool iterate_files(Arrivals::Kernel& kernel, const lull_scan& what, int pid) {
  *kernel.scan = what;
  bpf_iter_link_info info{};
  info.task.pid = static_cast<std::uint32_t>(pid);  // 0: everybody
  bpf_iter_attach_opts options{};
  options.sz = sizeof(options);
  options.link_info = &info;
  options.link_info_len = sizeof(info);
  const Owned<bpf_link> link(bpf_program__attach_iter(kernel.scanner, &options));
  if (!link) return false;
  const Handle pass(bpf_iter_create(bpf_link__fd(link.get())));
  if (!pass) return false;
  char nothing[64];
  ssize_t got = 0;
  do {
    got = ::read(pass.get(), nothing, sizeof(nothing));
  } while (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)));
  return got == 0;
}

bool take_inventory(Arrivals::Kernel& kernel, std::uint32_t service, int pid) {
  if (!pass(kernel, LULL_SCAN_LISTENERS, service, pid)) return false;
  if (!pass(kernel, LULL_SCAN_CONNECTIONS, service, pid)) return false;
  for (const int child : descendants(pid))
    (void)pass(kernel, LULL_SCAN_CONNECTIONS, service, child);  // gone meanwhile: its connections are too
  return true;
}

}  // namespace lull

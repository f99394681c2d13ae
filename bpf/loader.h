// bpf/loader.h: tells the broker that a request has reached a service, before the service itself knows.
//
//   watch(service, pid)  marks the process's listening TCP sockets, those it opens later, and what they accept
//   set_filter(service)  what is no request: probes, small ones, senders
//   poll_fd()            becomes readable;  consume() hands out events: hints, some may be missing
//   counters(service)    are the truth; read them after every wake-up and whenever a timer asks
//
// Only passive sockets count: a service's own connections to others do not, but for those to where its work comes from
// (watch_outgoing). Sockets are found in the watched process and, of what they accepted, in its descendants; a listener
// in another process (a front process, a proxy) is watched by that process's pid, its cgroup, or its port. Never watch
// a training tenant: its ranks listen for each other. What is exact, what is a lower bound, and what is not seen at all
// is in docs/arrival.md; the service's activity on the GPU has the last word on "finished".
//
// One thread uses an Arrivals. Nothing blocks, but for watch() and forget(), which may take a millisecond. Nothing is
// pinned: the programs vanish with the process. All memory is Arrivals' own; what is returned is a copy.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lull {

inline constexpr std::uint32_t max_services = 256;  // service ids are the caller's choice below this

enum class EventKind : std::uint8_t {
  arrival = 1,  // a request begins to arrive; wakes poll_fd for the first of an idle service, then once in 1 ms
  idle = 2,     // no request waits any more; does not wake poll_fd
  listen = 3,   // a watched process listens on one more port
  exit = 4,     // a watched process (or client) is exiting; an early hint, a pidfd is the proof
  syn = 5,      // somebody connects to an idle service; weak, at most one in 10 ms for each service
};

// What an arriving request looks like, by its first segment. Untrusted: anybody can send anything.
struct RequestLook {
  std::uint8_t stream = 0, method = 0;  // enum lull_stream, lull_method (bpf/head.h)
  std::uint32_t bytes = 0;
  std::array<char, 44> path{};  // what follows the method, cut off somewhere, zeroes after it
};

struct Event {
  EventKind kind;
  std::uint32_t service;
  std::uint32_t tgid;     // listen, exit: the process, as the host counts; else 0
  std::uint16_t port;     // listen, arrival: the local port; of an outgoing connection the other's; else 0
  std::uint64_t time_ns;  // CLOCK_MONOTONIC, when the kernel saw it
  RequestLook look;       // arrival
};

// A device node that is opened, or was found open.
struct DeviceOpen {
  std::uint32_t tgid, major, minor;
  bool client;           // a process named to watch() or watch_exit()
  std::uint64_t cgroup;  // 0: found open
  std::string comm;      // empty: found open
  std::uint64_t time_ns;
};
struct Device {
  std::uint32_t major;
  std::optional<std::uint32_t> minor;  // nothing: all of them
};

// What is no request, for one service.
struct Filter {
  struct Path {
    std::uint8_t method;  // enum lull_method; none: of any method
    std::string text;     // beginning of the target
    bool whole;           // ... which ends there, or goes on with a query
    bool ignored;         // false: an exception from a shorter one
  };
  struct Source {
    std::array<std::uint8_t, 16> address;  // IPv4 as ::ffff:a.b.c.d
    unsigned bits;
  };
  std::uint32_t least_bytes = 0;  // of a whole request
  std::vector<Path> paths;
  std::vector<Source> sources;
};

class Arrivals {
 public:
  // Which programs to load: without the tracing ones it works as on a kernel without BTF.
  enum class Programs { all, packets_only };

  // Loads and attaches. Null when that is not possible; then *why_not is one sentence for the log, with what to do.
  static std::unique_ptr<Arrivals> load(std::string* why_not, Programs = Programs::all);
  ~Arrivals();
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  // What is missing though loading worked, one line each, as "no listen events: ..."; usually empty.
  std::vector<std::string> notes() const;

  int poll_fd() const;  // owned by this object; level-triggered readable while events are there
  void consume(const std::function<void(const Event&)>& sink,  // the sinks must not throw, watch or forget
               const std::function<void(const DeviceOpen&)>& devices = {});

  // Starts to count for `service` what arrives at the process's sockets; pid as this process sees it. Repeat it at
  // will, for further processes of the service, or to find sockets again that no event announces (passed or inherited
  // ones, and all of them where notes() tells of missing listen events); requests in flight are not disturbed.
  // False when the process cannot be looked at (gone, no permission) or the id is too large: *why_not then says so.
  bool watch(std::uint32_t service, int pid, std::string* why_not = nullptr);
  // The same for whatever listens on a TCP port, in every network namespace of the host: for a proxy in front.
  bool watch_port(std::uint32_t service, std::uint16_t port, std::string* why_not = nullptr);
  // The same for whatever listens from now on in a cgroup (its id is the number of its directory's inode), but for
  // processes that are themselves watched or only clients. Sockets from before: watch() its processes.
  bool watch_cgroup(std::uint32_t service, std::uint64_t cgroup, std::string* why_not = nullptr);
  // Counts what comes in on the watched processes' own connections to this port: jobs, for a worker of a queue. For
  // connections from before, watch() again.
  bool watch_outgoing(std::uint32_t service, std::uint16_t port, std::string* why_not = nullptr);
  void set_filter(std::uint32_t service, const Filter&);  // of a watched one; replaces the earlier one
  // Announces the end of a process that is no service, and keeps its sockets from being taken for one.
  void watch_exit(int pid);
  // Reports who opens these, and first (within the next consume()) who has them open. False: only the latter, from
  // /proc, each time this is called.
  bool watch_devices(const std::vector<Device>&);
  // Ends all that was said of this service. The id can be used again; its counters then begin at zero.
  void forget(std::uint32_t service);

  struct Counters {
    std::uint32_t waiting = 0;      // requests that have begun to arrive and whose answer has not begun
    std::uint64_t arrivals = 0;     // requests that have begun to arrive
    std::uint64_t ignored = 0;      // those that the filter's paths and sources say are none
    std::uint64_t completions = 0;  // answered ones whose connection has gone on to the next request or closed
    std::uint64_t last_in_ns = 0;   // CLOCK_MONOTONIC of the last byte of a request; 0: none yet
    std::uint64_t last_out_ns = 0;  // of the last byte of an answer
    bool operator==(const Counters&) const = default;
  };
  Counters counters(std::uint32_t service) const;                 // zeroes when not watched
  std::vector<std::uint16_t> ports(std::uint32_t service) const;  // found and named ones, ascending

  struct Kernel;  // the loaded programs (bpf/kernel.h)

 private:
  explicit Arrivals(std::unique_ptr<Kernel>);
  std::unique_ptr<Kernel> kernel_;
};

}  // namespace lull

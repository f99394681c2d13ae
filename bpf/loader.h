// bpf/loader.h: tells the broker that a request has reached a service, before the service itself knows.
//
//   watch(service, pid)  marks the process's listening TCP sockets, those it opens later, and what they accept
//   poll_fd()            becomes readable;  consume() hands out events: hints, some may be missing
//   counters(service)    are the truth; read them after every wake-up and whenever a timer asks
//
// Only passive sockets count: a service's own connections to others do not. Sockets are found in the watched process
// and, of what they accepted, in its descendants; a listener in another process (a front process, a proxy) is watched
// by that process's pid, or by its port. Never watch a training tenant: its ranks listen for each other.
// One connection holds one request at a time: HTTP/1 is exact, of multiplexed protocols (HTTP/2) `waiting` is a lower
// bound, and UDP and Unix sockets are not seen. Output that is no answer (100 Continue, TLS tickets) ends `waiting`
// early. A request that comes in the handshake's own packet (TCP Fast Open, delayed ACK) is announced and counted in
// `arrivals`, but never in `waiting`. So the service's activity on the GPU has the last word on "finished".
//
// One thread uses an Arrivals. Nothing blocks, but for watch() and forget(), which may take a millisecond. Nothing is
// pinned: the programs vanish with the process. All memory is Arrivals' own; what is returned is a copy.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lull {

inline constexpr std::uint32_t max_services = 256;  // service ids are the caller's choice below this

enum class EventKind : std::uint8_t {
  arrival = 1,  // the first waiting request of an idle service
  idle = 2,     // no request waits any more; does not wake poll_fd
  listen = 3,   // a watched process listens on one more port
  exit = 4,     // a watched process is exiting; an early hint, a pidfd is the proof
  syn = 5,      // somebody connects to an idle service; weak, at most one in 10 ms for each service
};
struct Event {
  EventKind kind;
  std::uint32_t service;
  std::uint32_t tgid;     // listen, exit: the process, as the host counts; else 0
  std::uint16_t port;     // listen: the port; else 0
  std::uint64_t time_ns;  // CLOCK_MONOTONIC, when the kernel saw it
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
  void consume(const std::function<void(const Event&)>& sink);  // the sink must not throw, watch or forget

  // Starts to count for `service` what arrives at the process's sockets; pid as this process sees it. Repeat it at
  // will, for further processes of the service, or to find sockets again that no event announces (passed or inherited
  // ones, and all of them where notes() tells of missing listen events); requests in flight are not disturbed.
  // False when the process cannot be looked at (gone, no permission) or the id is too large: *why_not then says so.
  bool watch(std::uint32_t service, int pid, std::string* why_not = nullptr);
  // The same for whatever listens on a TCP port, in every network namespace of the host: for a proxy in front.
  bool watch_port(std::uint32_t service, std::uint16_t port, std::string* why_not = nullptr);
  // Ends both. The id can be used again; its counters then begin at zero.
  void forget(std::uint32_t service);

  struct Counters {
    std::uint32_t waiting = 0;      // requests that have begun to arrive and whose answer has not begun
    std::uint64_t arrivals = 0;     // requests that have begun to arrive
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

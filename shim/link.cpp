#include "shim/link.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "protocol/memory.h"
#include "protocol/socket.h"
#include "shim/backing.h"
#include "shim/clock.h"
#include "shim/environment.h"
#include "shim/gate.h"
#include "shim/log.h"
#include "shim/parking.h"
#include "shim/process.h"
#include "shim/threads.h"
#include "shim/uuid.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

namespace lull::link {
namespace {

constexpr std::uint64_t handshake_ns = 2'000'000'000;
constexpr std::uint64_t grace_ns = 10'000'000'000, restart_grace_ns = 60'000'000'000;
constexpr int retry_ms = 250;
constexpr unsigned close_range_unshare = 1u << 1;

std::atomic<std::int32_t> the_thread{0};
std::atomic<bool> broker_expected{true};
std::atomic<std::uint64_t> met_at{0};  // when the present session was opened; 0: none
int signals = -1;
int next_try_ms = retry_ms;  // longer after a refusal; "never" is a minute, because the next broker may think otherwise

// Everything of the host leaves this thread's own table (but standard error, if LULL_LOG wants it): an inherited pipe
// end kept open here would keep its reader waiting for ever.
void leave_descriptors() {
  if (::syscall(SYS_close_range, 3u, ~0u, close_range_unshare) == 0) {
    for (int fd = 0; fd < 3; ++fd)
      if (fd != STDERR_FILENO || !log::wanted()) (void)::close(fd);
    return;
  }
  if (::unshare(CLONE_FILES) != 0) return;  // forbidden: share the table, close nothing
  const long most = ::sysconf(_SC_OPEN_MAX);
  for (int fd = 0; fd < (most > 0 && most < 65536 ? static_cast<int>(most) : 65536); ++fd)
    if (fd != STDERR_FILENO || !log::wanted()) (void)::close(fd);
}

void open_signals() {
  sigset_t set;
  (void)sigemptyset(&set);
  (void)sigaddset(&set, kick_signal);
  signals = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

void drain_signals() {
  signalfd_siginfo information;
  while (::read(signals, &information, sizeof information) > 0) {
  }
}

// Files that an earlier broker wrote, and those that are no longer needed.
void read_files() {
  parking::read_files();
  for (int file; (file = parking::take_closed_file()) >= 0;) (void)::close(file);
}

// One connection to a broker, from hello to hang-up.
class Session {
 public:
  bool open() {
    auto connected = connect_to(environment().socket_path);
    if (!connected) return false;
    socket_ = std::move(*connected);
    auto hello = make_message<Hello>();
    hello.major = protocol_major;
    hello.minor = protocol_minor;
    hello.flags = (environment().gang ? hello_gang : 0u) | (environment().native ? hello_native : 0u);
    hello.backing_bytes = backing::total_bytes();
    std::snprintf(hello.tenant, sizeof hello.tenant, "%s", environment().tenant);
    std::snprintf(hello.shim_version, sizeof hello.shim_version, "%s", LULL_VERSION);
    return send_message(socket_.get(), hello) && await_welcome();
  }

  // Serves until the broker is gone, or this process turns out to be one we cannot follow.
  void serve() {
    ring();
    while (!gate::is_abandoned()) {
      attach_new();
      tell_gone();
      tell_parked();
      read_files();
      pollfd wait[] = {{socket_.get(), POLLIN, 0}, {signals, POLLIN, 0}};
      (void)::poll(wait, 2, static_cast<int>(recheck_ns / 1'000'000));
      if (wait[1].revents) {
        drain_signals();
        ring();
      }
      if ((wait[0].revents & (POLLIN | POLLHUP | POLLERR)) && !receive()) return;
    }
  }

 private:
  bool await_welcome() {
    const std::uint64_t deadline = monotonic_ns() + handshake_ns;
    while (!doorbell_ && monotonic_ns() < deadline) {
      pollfd wait{socket_.get(), POLLIN, 0};
      if (::poll(&wait, 1, 100) > 0 && !receive()) return false;
    }
    return static_cast<bool>(doorbell_);
  }

  // False: the broker has hung up, refused us, or does not speak our language.
  bool receive() {
    auto packet = receive_packet(socket_.get());
    if (!packet) return packet.error().code == EAGAIN || packet.error().code == EINTR;
    if (packet->size == 0) return false;
    const auto message = parse_message(packet->view());
    if (!message) return false;
    if (const auto* welcome = std::get_if<Welcome>(&*message)) return accept(*welcome, *packet);
    if (const auto* arena = std::get_if<Arena>(&*message)) return accept(*arena, *packet);
    if (const auto* spilled = std::get_if<Spilled>(&*message)) return accept(*spilled, *packet);
    if (const auto* filled = std::get_if<Filled>(&*message)) return parking::on_filled(*filled), true;
    if (const auto* refused = std::get_if<Refused>(&*message)) {
      log::line("the broker refused this process: %s", refused->sentence);
      next_try_ms =
          refused->retry_ms ? static_cast<int>(refused->retry_ms < 60'000 ? refused->retry_ms : 60'000) : 60'000;
      return false;
    }
    return true;
  }

  bool accept(const Welcome& welcome, Packet& packet) {
    if (!common_minor(welcome.major, welcome.minor)) {
      log::line("unmanaged: the broker speaks protocol %u.%u, this library %u.%u", welcome.major, welcome.minor,
                protocol_major, protocol_minor);
      next_try_ms = 60'000;
      return false;
    }
    if (packet.fd_count < 3) return false;
    const int down = packet.fds[0].get(), up = packet.fds[1].get();
    if (!check_shared_memory(down, page_bytes) || !check_shared_memory(up, page_bytes)) return false;
    doorbell_ = std::move(packet.fds[2]);
    parking::broker_came(*common_minor(welcome.major, welcome.minor));
    process::map_pages(down, up);
    log::line("managed as client %u", welcome.client);
    return true;
  }

  bool accept(const Arena& arena, Packet& packet) {
    if (packet.fd_count < 1) return false;
    if (!check_shared_memory(packet.fds[0].get(), arena.bytes)) return false;
    if (!backing::add_arena(packet.fds[0].get(), arena.bytes, arena.number)) log::line("no room to map an arena");
    process::nudge_mover();  // to register it ahead of need
    return true;
  }

  bool accept(const Spilled& spilled, Packet& packet) {
    if (packet.fd_count < 1) return false;
    int file = packet.fds[0].release();
    parking::on_spilled(spilled, file);
    if (file >= 0) (void)::close(file);
    return true;
  }

  void attach_new() {
    for (unsigned slot = 0; slot < max_gpus; ++slot) {
      if (!process::attached(slot) || (announced_ >> slot & 1)) continue;
      auto attach = make_message<Attach>();
      attach.slot = slot;
      CUuuid uuid;
      std::size_t total = 0;
      if (!uuid_of(slot, uuid) || real::cuDeviceTotalMem_v2(&total, static_cast<CUdevice>(slot)) != CUDA_SUCCESS)
        continue;
      std::memcpy(attach.uuid, uuid.bytes, sizeof attach.uuid);
      attach.total_bytes = total;
      if (send_message(socket_.get(), attach)) announced_ |= 1u << slot;
    }
  }

  // An arena that cannot be told of now is told of at the next look, or to the next broker.
  void tell_gone() {
    while (const auto gone = backing::gone()) {
      auto returned = make_message<Returned>();
      returned.number = gone->number;
      returned.bytes = gone->bytes;
      if (!send_message(socket_.get(), returned)) return;
      backing::told();
    }
  }

  void tell_parked() {
    while (const auto step = parking::next_step()) {
      if (!send_message(socket_.get(), *step)) return;
      parking::stepped(*step);
    }
  }

  void ring() {
    const std::uint64_t one = 1;
    (void)!::write(doorbell_.get(), &one, sizeof one);  // a full counter is rung already
  }

  Fd socket_, doorbell_;
  std::uint32_t announced_ = 0;
};

// Kicks do not shorten it: a process that is refused would ask again at the rate of its frees.
void pause_ms(int ms) {
  (void)::poll(nullptr, 0, ms);
  drain_signals();
}

void* run(void*) {
  the_thread.store(static_cast<std::int32_t>(::syscall(SYS_gettid)), std::memory_order_release);
  leave_descriptors();
  open_signals();
  std::uint64_t lost_at = 0;  // 0: never had one, or the grace time is over
  bool restarting = false;
  while (!gate::is_abandoned()) {
    {
      Session session;
      if (session.open()) {
        broker_expected.store(true);
        met_at.store(monotonic_ns());
        session.serve();
        met_at.store(0);
        parking::broker_gone();
        restarting = process::down().restarting.load(std::memory_order_acquire) != 0;
        lost_at = monotonic_ns();
        log::line("the broker is gone; going on as it left us for a while");
      }
    }
    broker_expected.store(false);
    process::handshake_over();
    if (lost_at && monotonic_ns() - lost_at > (restarting ? restart_grace_ns : grace_ns)) {
      process::release_gates();
      lost_at = 0;
      log::line("no broker has come back: unmanaged");
    }
    read_files();
    pause_ms(next_try_ms);
    next_try_ms = retry_ms;
  }
  the_thread.store(0);
  return nullptr;
}

}  // namespace

bool start() { return threads::start("lull-link", run, 256 << 10); }
std::int32_t thread_id() { return the_thread.load(std::memory_order_acquire); }
bool settling() {
  const std::uint64_t met = met_at.load(std::memory_order_acquire);
  return met && monotonic_ns() - met < handshake_ns;
}
bool expected() { return broker_expected.load(std::memory_order_acquire); }

}  // namespace lull::link

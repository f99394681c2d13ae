// tests/bench/arrival_bench.cpp: how long after a request is sent the broker's gate can be closed.
//
//   client thread ── send() ──▶ loopback ──▶ BPF ──▶ ring ──▶ loop thread (real time, sd-event): stores a word
//                                   └──▶ service thread: recv(), answers
//   client thread ── write() ──▶ eventfd ───────────────────▶ the same loop thread: stores a word
//
// Both kinds alternate in one run, with the same pauses between, so that they see the same machine; the second is the
// least that any wake-up costs here. Then once more with a spinning process for every CPU.
#include <fmt/core.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bpf/loader.h"
#include "tests/bench/packet_cost.h"
#include "tests/bench/report.h"
#include "tests/bpf/sockets.h"

namespace {

using namespace lull;
using namespace lull::test;
using bench::percentile;

constexpr std::uint32_t service_id = 0;
constexpr std::size_t request_bytes = 200, answer_bytes = 100;  // a small HTTP request, its short answer
constexpr int real_time_priority = 10;

std::uint64_t now_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

double us_between(std::uint64_t from_ns, std::uint64_t to_ns) {
  return static_cast<double>(static_cast<std::int64_t>(to_ns - from_ns)) / 1000;
}

void check(int result, const char* what) {
  if (result < 0) throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(-result)));
}

// As the broker's event thread: SCHED_FIFO, else the best nice value.
const char* raise_priority() {
  const sched_param priority{.sched_priority = real_time_priority};
  if (::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority) == 0) return "SCHED_FIFO";
  return ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), -20) == 0 ? "nice -20" : "ordinary priority";
}

// The loop thread and what the others learn from it.
class Broker {
 public:
  explicit Broker(Arrivals& arrivals)
      : arrivals_(arrivals), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), woken_(::eventfd(0, EFD_CLOEXEC)) {
    if (!wake_ || !woken_) throw std::runtime_error("cannot make an eventfd");
    sd_event* loop = nullptr;
    check(sd_event_new(&loop), "event loop");
    loop_.reset(loop);
    check(sd_event_add_io(loop, nullptr, arrivals_.poll_fd(), EPOLLIN, on_arrivals, this), "arrivals");
    check(sd_event_add_io(loop, nullptr, wake_.get(), EPOLLIN, on_wake, this), "wake");
    thread_ = std::jthread([this] { run(); });
    while (!priority.load()) std::this_thread::yield();
  }
  ~Broker() {
    stopping_ = true;
    wake();
  }
  void wake() const { (void)!::eventfd_write(wake_.get(), 1); }
  void wait_until_woken() const {
    eventfd_t count = 0;
    (void)!::eventfd_read(woken_.get(), &count);
  }

  std::atomic<std::uint64_t> gate_ns = 0;  // the store that is measured: when it was made
  std::atomic<std::uint64_t> hook_ns = 0;  // when the kernel program ran
  std::atomic<const char*> priority = nullptr;

 private:
  static int on_arrivals(sd_event_source*, int, std::uint32_t, void* self) {
    auto& broker = *static_cast<Broker*>(self);
    broker.arrivals_.consume([&broker](const Event& event) {
      if (event.kind != EventKind::arrival) return;
      broker.gate_ns.store(now_ns(), std::memory_order_release);
      broker.hook_ns.store(event.time_ns, std::memory_order_release);
    });
    return 0;
  }
  static int on_wake(sd_event_source* source, int fd, std::uint32_t, void* self) {
    auto& broker = *static_cast<Broker*>(self);
    broker.gate_ns.store(now_ns(), std::memory_order_release);
    eventfd_t count = 0;
    (void)!::eventfd_read(fd, &count);
    (void)!::eventfd_write(broker.woken_.get(), 1);
    return broker.stopping_ ? sd_event_exit(sd_event_source_get_event(source), 0) : 0;
  }
  void run() {
    priority = raise_priority();
    (void)sd_event_loop(loop_.get());  // ends when told to; a failing loop is seen by await()
  }

  struct Unref {
    void operator()(sd_event* loop) const { (void)sd_event_unref(loop); }
  };
  Arrivals& arrivals_;
  Handle wake_, woken_;
  std::unique_ptr<sd_event, Unref> loop_;
  std::atomic<bool> stopping_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

// Answers every request on one connection and remembers when it came.
class Service {
 public:
  explicit Service(const Server& server) : client(connect_to(server)), connection_(accept_from(server)) {
    thread_ = std::jthread([this] { run(); });
  }
  ~Service() { shut_writing(client); }
  Handle client;
  std::atomic<std::uint64_t> received_ns = 0;

 private:
  void run() {
    try {
      for (;;) {
        receive_bytes(connection_, request_bytes);
        received_ns.store(now_ns(), std::memory_order_release);
        send_bytes(connection_, answer_bytes);
      }
    } catch (const std::exception&) {  // the client has shut its side
    }
  }
  Handle connection_;
  std::jthread thread_;
};

struct Times {  // in microseconds after the client's call began
  std::vector<double> gate, hook, received, wake;
};

std::uint64_t await(const std::atomic<std::uint64_t>& word) {
  if (!eventually([&word] { return word.load(std::memory_order_acquire) != 0; }))
    throw std::runtime_error("a request was sent and no arrival was reported within 10 s");
  return word.load(std::memory_order_acquire);
}

void measure_request(Broker& broker, Service& service, Times& times) {
  broker.gate_ns = broker.hook_ns = 0;
  const std::uint64_t began_ns = now_ns();
  send_bytes(service.client, request_bytes);
  receive_bytes(service.client, answer_bytes);
  times.gate.push_back(us_between(began_ns, await(broker.gate_ns)));
  times.hook.push_back(us_between(began_ns, await(broker.hook_ns)));
  times.received.push_back(us_between(began_ns, service.received_ns.load(std::memory_order_acquire)));
}

void measure_wake(Broker& broker, Times& times) {
  const std::uint64_t began_ns = now_ns();
  broker.wake();
  broker.wait_until_woken();
  times.wake.push_back(us_between(began_ns, broker.gate_ns.load(std::memory_order_acquire)));
}

Times measure(Broker& broker, Service& service, unsigned samples) {
  constexpr unsigned warm_up = 50;
  std::mt19937 random(1);
  const auto pause = [&random] {  // everybody asleep again, at no fixed phase to any timer
    std::this_thread::sleep_for(std::chrono::microseconds(200 + random() % 400));
  };
  Times times;
  for (unsigned i = 0; i < samples + warm_up; ++i) {
    if (i == warm_up) times = {};
    pause();
    measure_request(broker, service, times);
    pause();
    measure_wake(broker, times);
  }
  return times;
}

std::vector<std::unique_ptr<Process>> occupy_every_cpu() {
  std::vector<std::unique_ptr<Process>> burners;
  for (long i = ::sysconf(_SC_NPROCESSORS_ONLN); i > 0; --i)
    burners.push_back(std::make_unique<Process>([] {
      for (volatile unsigned turns = 0;;) turns = turns + 1;
    }));
  return burners;
}

bench::Report report_of(const Times& idle, const Times& busy, double packet_ns) {
  constexpr double hook_goal_us = 15, over_a_wake_us = 100, packet_goal_ns = 50;
  const double wake_p99 = percentile(idle.wake, 0.99), busy_wake_p99 = percentile(busy.wake, 0.99);
  const auto us = [](const char* name, double value, std::optional<double> goal = {}) {
    return bench::Metric{std::string("arrival.") + name, value, "us", goal};
  };
  return {
      .suite = "arrival",
      .gpu = "none",
      .metrics = {us("hook_p50_us", percentile(idle.hook, 0.5), hook_goal_us), us("p50_us", percentile(idle.gate, 0.5)),
                  us("p99_us", percentile(idle.gate, 0.99), wake_p99 + over_a_wake_us),
                  us("wake_p50_us", percentile(idle.wake, 0.5)), us("wake_p99_us", wake_p99),
                  us("recv_p50_us", percentile(idle.received, 0.5)), us("busy_p50_us", percentile(busy.gate, 0.5)),
                  us("busy_p99_us", percentile(busy.gate, 0.99), busy_wake_p99 + over_a_wake_us),
                  us("busy_wake_p50_us", percentile(busy.wake, 0.5)), us("busy_wake_p99_us", busy_wake_p99),
                  bench::Metric{"arrival.packet_ns", packet_ns, "ns", packet_goal_ns}}};
}

bench::Report run(Arrivals& arrivals, unsigned samples) {
  const double packet_ns = bench::packet_cost_ns();
  const Server server;
  std::string why_not;
  if (!arrivals.watch(service_id, ::getpid(), &why_not)) throw std::runtime_error(why_not);
  Broker broker(arrivals);
  Service service(server);
  fmt::print(stderr, "event thread: {}; {} samples of each kind, idle and busy\n", broker.priority.load(), samples);
  const Times idle = measure(broker, service, samples);
  const auto burners = occupy_every_cpu();
  const Times busy = measure(broker, service, samples);
  return report_of(idle, busy, packet_ns);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures how long after a request is sent the broker's gate can be closed.");
  std::string json_path;
  unsigned samples = 2000;
  app.add_option("--json", json_path, "write one JSON object to this file, - for standard output");
  app.add_option("--samples", samples, "measurements of each kind")->check(CLI::Range(100u, 1'000'000u));
  CLI11_PARSE(app, argc, argv);
  try {
    std::string why_not;
    const auto arrivals = Arrivals::load(&why_not);
    if (!arrivals) {
      fmt::print(stderr, "arrival: not measured: {}\n", why_not);
      return 77;
    }
    return bench::print(run(*arrivals, samples), json_path) ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "arrival: {}\n", error.what());
    return 1;
  }
}

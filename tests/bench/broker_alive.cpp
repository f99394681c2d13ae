// A real lulld on a card that only the configuration knows, and clients of this process.
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

#include "broker/clock.h"
#include "tests/bench/broker_bench.h"
#include "tests/broker/lulld.h"

namespace lull::bench {
namespace {

constexpr std::uint64_t mib = 1ull << 20, trainer_bytes = 700 * mib, service_bytes = 500 * mib;  // of 928 MiB
constexpr char quick[] = R"(host_memory = "1GiB"
host_memory_keep_free = "0"
[policy]
keep_alive = "0"
loading_quiet = "100ms"
loading_linger = "0"
min_hold = "0"
[limits]
clients_per_uid = 4096
reserve_per_uid = "64GiB"
)";
constexpr int sender_priority = 30;  // above the broker's: it must not be interrupted while it looks
constexpr std::uint64_t longest_ns = 100'000'000;

// lulld's programs lie beside this one.
void find_programs() {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  (void)::setenv("LULL_TEST_PROGRAMS", (self.parent_path() / "../../broker").c_str(), 0);
}

bool real_time(int priority) {
  sched_param wanted{};
  wanted.sched_priority = priority;
  return ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &wanted) == 0;
}

bool stay_on(unsigned processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  return ::sched_setaffinity(0, sizeof one, &one) == 0;
}

// One for every processor, for as long as it lives.
class Burners {
 public:
  Burners() {
    for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
      const int pid = ::fork();
      if (pid < 0) continue;
      if (pid == 0) {
        (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (volatile unsigned turns = 0;;) turns = turns + 1;
      }
      pids_.push_back(pid);
    }
  }
  ~Burners() {
    for (const int pid : pids_) (void)::kill(pid, SIGKILL), (void)::waitpid(pid, nullptr, 0);
  }
  Burners(const Burners&) = delete;
  Burners& operator=(const Burners&) = delete;

 private:
  std::vector<int> pids_;
};

// Sleeps on an eventfd with the broker's priority, and stores a word for each write.
class Sleeper {
 public:
  Sleeper() : wake_(::eventfd(0, EFD_CLOEXEC)), thread_([this] { run(); }) {}
  ~Sleeper() {
    stopping_ = true;
    wake();
    thread_.join();
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  void wake() const { (void)!::eventfd_write(wake_.get(), 1); }
  std::atomic<std::uint64_t> word{0};

 private:
  void run() {
    (void)real_time(1);
    for (eventfd_t count; !stopping_ && ::eventfd_read(wake_.get(), &count) == 0;) word.fetch_add(1);
  }
  Fd wake_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// From an event until a word is no longer what it was; nobody sleeps here. Nothing: not within longest_ns.
template <class Event>
std::optional<double> time_to_store(const std::atomic<std::uint64_t>& word, Event event) {
  const std::uint64_t before = word.load(), began = now_ns();
  event();
  for (std::uint64_t now = began; now - began < longest_ns;) {
    const bool stored = word.load(std::memory_order_acquire) != before;
    now = now_ns();
    if (stored) return static_cast<double>(now - began) / 1000;
  }
  return std::nullopt;
}

// A trainer that works, and a service whose submission takes the card from it. Nothing is copied: what has to move has
// moved when it is asked for.
class Pair {
 public:
  Pair() : lulld_(quick), trainer_(lulld_, Class::training, "job"), service_(lulld_, Class::inference, "faces") {
    REQUIRE(trainer_.hello());
    trainer_.attach(trainer_bytes);
    trainer_.busy = true;
    REQUIRE(service_.hello());
    service_.attach(service_bytes);
    rest();
  }
  // Until the trainer has the card and the service is paused.
  void rest() {
    REQUIRE(eventually([&] {
      trainer_.act(), service_.act();
      return trainer_.gate() == GateState::open && service_.gate() == GateState::closed &&
             trainer_.said().resident == trainer_bytes;
    }));
  }
  std::optional<double> request() {
    const auto took = time_to_store(trainer_.asked().gate, [&] {
      ++service_.said().wants;
      service_.ring();
    });
    service_.busy = true;
    REQUIRE(eventually([&] {
      trainer_.act(), service_.act();
      return service_.gate() == GateState::open;
    }));
    service_.busy = false;
    return took;
  }

 private:
  Lulld lulld_;
  FakeShim trainer_, service_;
};

std::uint64_t resident_bytes(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6)) * 1024;
  return 0;
}

std::uint64_t processor_ns(int pid) {
  std::uint64_t sum = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::uint64_t ran = 0;
    std::ifstream(task.path() / "schedstat") >> ran;
    sum += ran;
  }
  return sum;
}

// Clients that hold nothing and want nothing.
class Crowd {
 public:
  explicit Crowd(const Lulld& lulld) : lulld_(lulld) {}
  void grow_to(std::size_t clients) {
    while (shims_.size() < clients) {
      const auto name = "tenant" + std::to_string(shims_.size());
      const auto klass = shims_.size() % 2 ? Class::inference : Class::training;
      shims_.push_back(std::make_unique<FakeShim>(lulld_, klass, name.c_str()));
      REQUIRE(shims_.back()->hello());
      shims_.back()->attach(0);
    }
    REQUIRE(eventually([&] {
      for (const auto& shim : shims_) shim->act();
      return lulld_.gpu()["clients"].size() == clients;
    }));
  }

 private:
  const Lulld& lulld_;
  std::vector<std::unique_ptr<FakeShim>> shims_;
};

}  // namespace

GateTimes gate_times_us(unsigned samples) {
  find_programs();
  Pair pair;
  Sleeper sleeper;
  const Burners burners;
  // Elsewhere than the one that spins here the broker and the sleeper find a processor.
  cpu_set_t all;
  GateTimes times;
  if (::sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2 || !real_time(sender_priority)) return times;
  unsigned last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &all)) --last;
  if (!stay_on(last)) return times;
  for (unsigned i = 0; i < samples; ++i) {
    if (const auto took = pair.request()) times.gate.push_back(*took);
    pair.rest();
    if (const auto took = time_to_store(sleeper.word, [&] { sleeper.wake(); })) times.wake.push_back(*took);
    ::usleep(200 + i * 37 % 400);  // at no fixed phase to any timer
  }
  (void)::sched_setaffinity(0, sizeof all, &all);
  const sched_param ordinary{};
  (void)::sched_setscheduler(0, SCHED_OTHER, &ordinary);
  return times;
}

double bytes_per_client(unsigned clients) {
  find_programs();
  const Lulld lulld(quick);
  Crowd crowd(lulld);
  crowd.grow_to(1);
  const std::uint64_t before = resident_bytes(lulld.pid());
  crowd.grow_to(clients + 1);
  return static_cast<double>(resident_bytes(lulld.pid()) - before) / clients;
}

double idle_cpu_percent(unsigned clients, unsigned seconds) {
  find_programs();
  const Lulld lulld(quick);
  Crowd crowd(lulld);
  crowd.grow_to(clients);
  REQUIRE(eventually([&] {  // what comes after a welcome is over
    const auto all = lulld.gpu()["clients"];
    return std::none_of(all.begin(), all.end(), [](const auto& c) { return c["loading"] == true; });
  }));
  const std::uint64_t ran = processor_ns(lulld.pid()), began = now_ns();
  ::sleep(seconds);
  return 100.0 * static_cast<double>(processor_ns(lulld.pid()) - ran) / static_cast<double>(now_ns() - began);
}

}  // namespace lull::bench

// Random programs give the same account with the shim as without it, however often their memory is taken and given
// back meanwhile.
//
//   random-test PROGRAM SHIM FIRST COUNT
//
// Where an account differs, steps are left out one after the other for as long as it still differs, and the command
// that shows what is left is printed.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <iterator>
#include <set>
#include <sstream>

#include "tests/random/dice.h"
#include "tests/random/silent.h"
#include "tests/shim/fake_broker.h"

extern char** environ;

namespace lull::random {
namespace {

constexpr unsigned steps_each = 40, threads_most = 3, batch = 25;
constexpr int longest_silence_ms = 100'000;  // a program takes less than a second

struct Child {
  pid_t pid;
  Fd output;
};

Child start(const std::vector<std::string>& words, const std::vector<std::string>& more_environment) {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<char*> arguments, environment;
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  for (char** at = environ; *at; ++at) environment.push_back(*at);
  for (const auto& variable : more_environment) environment.push_back(const_cast<char*>(variable.c_str()));
  arguments.push_back(nullptr);
  environment.push_back(nullptr);
  pid_t pid = -1;
  must(::posix_spawn(&pid, words[0].c_str(), &actions, nullptr, arguments.data(), environment.data()) == 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  return {pid, Fd(ends[0])};
}

// All it writes, then how it ended. One that is silent for long is ended, once it is known what it waited for.
template <class Account>
std::string finish(const Child& child, Account account) {
  std::string text;
  char part[65536];
  pollfd readable{child.output.get(), POLLIN, 0};
  while (::poll(&readable, 1, longest_silence_ms) == 1) {
    const ssize_t n = ::read(child.output.get(), part, sizeof part);
    if (n <= 0) break;
    text.append(part, static_cast<std::size_t>(n));
  }
  if (readable.revents == 0) {
    std::printf("\nprocess %d has said nothing for %d s\n%s%s", child.pid, longest_silence_ms / 1000, account().c_str(),
                where_it_waits(child.pid).c_str());
    (void)::kill(child.pid, SIGKILL);
  }
  int status = 0;
  ::waitpid(child.pid, &status, 0);
  return text + "exit status " + std::to_string(status) + "\n";
}

// Takes the memory away and gives it back, at random moments and in random amounts, until the client is gone. Now and
// then it bounds the work in flight, or lets it go.
class Preemptions {
 public:
  Preemptions(FakeBroker& broker, std::uint64_t seed) : broker_(broker), dice_(seed), thread_([this] { run(); }) {}
  ~Preemptions() {
    stop_ = true;
    thread_.join();
  }
  Preemptions(const Preemptions&) = delete;
  Preemptions& operator=(const Preemptions&) = delete;
  unsigned pauses() const { return pauses_; }
  unsigned evictions() const { return evictions_; }
  std::string account() const {  // of what the two sides have last said
    if (!broker_.attached()) return "not attached\n";
    const UpGpu& up = broker_.up();
    const auto phase = broker_.phase();
    std::ostringstream text;
    text << "gate " << broker_.generation() << (broker_.is_open() ? " open" : " closed") << ", quota "
         << broker_.quota() << "; phase " << static_cast<int>(phase.phase) << " for " << phase.generation << ", needed "
         << up.needed.load() << ", resident " << up.resident.load() << ", native " << up.native.load() << ", wants "
         << up.wants.load() << ", submissions " << up.submissions.load() << "\n";
    return text.str();
  }

 private:
  template <class Condition>
  bool until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (!stop_ && std::chrono::steady_clock::now() < deadline) {
      if (condition()) return true;
      rest(200);
    }
    return false;
  }
  static void rest(std::uint64_t microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }
  bool drained() const { return broker_.phase().phase == Phase::drained; }

  void run() {
    if (!until([&] { return broker_.attached(); })) return;
    broker_.give_backing(256u << 20);
    while (!stop_) {
      if (dice_.one_in(3)) broker_.limit(limits_us[dice_.below(std::size(limits_us))]);
      rest(dice_.below(4000));
      broker_.gate(GateState::closed);
      const bool quiet = until([&] { return broker_.reached(Phase::drained) || broker_.reached(Phase::overdue); });
      if (quiet && drained()) {
        ++pauses_;
        if (!dice_.one_in(4)) evict();
      }
      broker_.gate(GateState::open);
    }
  }
  void evict() {
    const std::uint64_t resident = broker_.up().resident.load();
    const std::uint64_t left = dice_.one_in(2) ? 0 : dice_.below(resident + 1);
    broker_.quota(left);
    if (until([&] { return broker_.up().resident.load() <= left; }) && left < resident) ++evictions_;
    rest(dice_.below(1000));
    broker_.quota(~0ull >> 1);
    (void)until([&] {
      return broker_.up().resident.load() >= broker_.up().needed.load() && broker_.phase().phase != Phase::moving;
    });
  }

  static constexpr std::uint32_t limits_us[] = {0, 50, 2'000, 50'000};
  FakeBroker& broker_;
  Dice dice_;
  std::atomic<bool> stop_{false};
  std::atomic<unsigned> pauses_{0}, evictions_{0};
  std::thread thread_;
};

struct Counts {
  unsigned pauses = 0, evictions = 0;
};

class Harness {
 public:
  Harness(std::string program, std::string shim) : program_(std::move(program)), shim_(std::move(shim)) {}

  std::string alone(std::uint64_t first, unsigned count, const std::set<unsigned>& skipped) const {
    return finish(start(command(first, count, skipped), {"LULL_SIM_POOL=" + pool("alone")}),
                  [] { return std::string(); });
  }
  std::string preempted(std::uint64_t first, unsigned count, const std::set<unsigned>& skipped, Counts& counts) const {
    FakeBroker broker;
    Preemptions preemptions(broker, first);
    const Child child =
        start(command(first, count, skipped), {"LD_PRELOAD=" + shim_, "LULL_SIM_POOL=" + pool("preempted")});
    std::string text = finish(child, [&] { return preemptions.account(); });
    counts.pauses += preemptions.pauses();
    counts.evictions += preemptions.evictions();
    return text;
  }
  std::string shown(std::uint64_t seed, const std::set<unsigned>& skipped) const {
    std::string line;
    for (const std::string& word : command(seed, 1, skipped)) line += word + " ";
    return line;
  }
  void clean_up() const {
    for (const char* which : {"alone", "preempted"}) (void)::unlink(pool(which).c_str());
  }

 private:
  std::vector<std::string> command(std::uint64_t first, unsigned count, const std::set<unsigned>& skipped) const {
    std::vector<std::string> words{program_, std::to_string(first), std::to_string(count), std::to_string(steps_each)};
    for (const unsigned step : skipped) words.push_back(std::to_string(step));
    return words;
  }
  std::string pool(const char* which) const { return "/dev/shm/lull-random-" + std::to_string(::getpid()) + which; }

  const std::string program_, shim_;
};

std::string first_difference(const std::string& expected, const std::string& met) {
  std::istringstream one(expected), other(met);
  std::string a, b, program;
  while (true) {
    const bool more_a = static_cast<bool>(std::getline(one, a)), more_b = static_cast<bool>(std::getline(other, b));
    if (!more_a && !more_b) return {};
    if (!more_a) a = "(nothing)";
    if (!more_b) b = "(nothing)";
    if (a.starts_with("program ")) program = a;
    if (a != b) return program + "\n  alone:     " + a + "\n  preempted: " + b;
  }
}

// Whether it differs in any of a few attempts: preemptions come when they come.
bool differs(const Harness& harness, std::uint64_t seed, const std::set<unsigned>& skipped, std::string* how) {
  const std::string expected = harness.alone(seed, 1, skipped);
  for (unsigned attempt = 0; attempt < 3; ++attempt) {
    Counts counts;
    const std::string difference = first_difference(expected, harness.preempted(seed, 1, skipped, counts));
    if (difference.empty()) continue;
    *how = difference;
    return true;
  }
  return false;
}

void report(const Harness& harness, std::uint64_t first, std::uint64_t seed, std::string how) {
  std::set<unsigned> skipped;
  if (!differs(harness, seed, skipped, &how)) {
    std::printf("(by itself program %llu does not differ: it did in the run that began with %llu)\n",
                static_cast<unsigned long long>(seed), static_cast<unsigned long long>(first));
  } else {
    const auto enough = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    for (unsigned width = steps_each; width; width /= 4) {  // large pieces first
      for (unsigned step = 0; step < threads_most * steps_each && std::chrono::steady_clock::now() < enough;
           step += width) {
        std::set<unsigned> fewer = skipped;
        for (unsigned i = step; i < step + width; ++i) fewer.insert(i);
        if (differs(harness, seed, fewer, &how)) skipped = fewer;
      }
    }
  }
  std::printf("program %llu differs:\n%s\n  %s\n", static_cast<unsigned long long>(seed), how.c_str(),
              harness.shown(seed, skipped).c_str());
}

int run(const Harness& harness, unsigned first, unsigned count) {
  Counts counts;
  unsigned different = 0;
  for (unsigned seed = first; seed < first + count; seed += batch) {
    const unsigned some = std::min(batch, first + count - seed);
    std::printf("%u programs from %u on: alone", some, seed);  // whoever is ended for hanging has said where
    std::fflush(stdout);
    const std::string expected = harness.alone(seed, some, {});
    std::printf(", preempted");
    std::fflush(stdout);
    std::string how = first_difference(expected, harness.preempted(seed, some, {}, counts));
    std::printf(how.empty() ? ", the same\n" : ", not the same\n");
    if (how.empty()) continue;
    ++different;
    report(harness, seed, std::strtoull(how.c_str() + sizeof "program", nullptr, 10), how);
  }
  std::printf("%u programs from %u on, %u pauses, %u evictions, %u differences\n", count, first, counts.pauses,
              counts.evictions, different);
  // Without preemptions nothing would have been shown.
  return different || counts.evictions < count / 5 ? 1 : 0;
}

}  // namespace
}  // namespace lull::random

int main(int argc, char** argv) {
  const auto number = [&](int i) { return i < argc ? static_cast<unsigned>(std::strtoul(argv[i], nullptr, 10)) : 0; };
  const unsigned first = number(3), count = number(4);
  if (argc != 5 || first == 0 || count == 0) {
    std::fprintf(stderr, "usage: random-test PROGRAM SHIM FIRST COUNT\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const lull::random::Harness harness(argv[1], argv[2]);
  const int failed = lull::random::run(harness, first, count);
  harness.clean_up();
  return failed;
}

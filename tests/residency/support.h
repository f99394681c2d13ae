// What the cases of the residency engine share.
//
// Each case runs in a process of its own, with a card, a journal, a broker moved by hand and a log of its own: what an
// earlier case has taught the shim (copies kept, habits) is not there, and the environment is the case's. To write one:
//
//   ALONE("a sentence that states the rule", "LULL_HASH=off", ...) { broker().give_backing(...); ... }
//
// Kinds of memory that move are rows of `kinds`: most cases hold for each of them.
#pragma once
#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/driver/journal/journal.h"
#include "tests/shim/fake_broker.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

namespace lull::residency_test {

inline constexpr std::size_t mib = 1 << 20, chunk = 2 * mib;  // of a 64 MiB card
inline constexpr std::uint64_t no_limit = ~0ull >> 1;

#define OK(call) REQUIRE_EQ(static_cast<int>(call), static_cast<int>(CUDA_SUCCESS))

using Words = std::initializer_list<const char*>;
void run_alone(Words sentence_and_settings, void (*body)());
constexpr const char* sentence_of(const char* sentence, ...) { return sentence; }
#define ALONE_NAMED(body, ...)                                                                     \
  static void body();                                                                              \
  TEST_CASE(sentence_of(__VA_ARGS__)) { ::lull::residency_test::run_alone({__VA_ARGS__}, &body); } \
  static void body()
#define ALONE(...) ALONE_NAMED(DOCTEST_ANONYMOUS(residency_case_), __VA_ARGS__)

// The broker, with this process attached and its context current. `LULL_TEST_CHUNK=BYTES` promises that chunk size.
FakeBroker& broker();
CUcontext context();
// One more, for another process; gone with the case. The programs that are started from here on find the newest.
FakeBroker& another_broker();
// Gives backing in one arena and waits until the shim is prepared to evict: registered, and its kernel loaded.
void prepare(std::uint64_t backing_bytes);

// Gate closed, what is above `bytes` evicted, and the mover done with it.
[[nodiscard]] bool evict(std::uint64_t bytes = 0);
[[nodiscard]] bool restore();
// A state that comes only if the mover tries again is waited for with new words from the broker, which end its rests.
[[nodiscard]] bool comes_true_with_nudges(const std::function<bool()>& condition);

// Faults on demand of the simulated driver (faults/request.h), from now on.
void tell_driver(const std::string& request);
void tell_driver_of(pid_t process, const std::string& request);

// As NVML says, which the shim has no part in.
std::size_t free_on_card();
std::size_t total_of_card();
std::string uuid_of_card();

std::string log_text();  // what the shim has logged

// Memory of one kind.
struct Kind {
  const char* name;
  CUdeviceptr (*make)(std::size_t bytes);
  void (*unmake)(CUdeviceptr at, std::size_t bytes);
};
extern const Kind kinds[2];
inline const Kind& allocated = kinds[0];  // cuMemAlloc
inline const Kind& created = kinds[1];    // cuMemCreate, mapped at addresses of the program's

CUdeviceptr reserve(std::size_t bytes);
CUmemGenericAllocationHandle create(std::size_t bytes);
void map(CUdeviceptr at, std::size_t bytes, CUmemGenericAllocationHandle handle);

// Device memory, and what must be in it.
class Memory {
 public:
  Memory(std::size_t bytes, std::uint32_t seed, const Kind& kind = allocated);
  ~Memory() { unmake(); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  CUdeviceptr at() const { return at_; }
  std::size_t bytes() const { return expected_.size() * 4; }
  void fill(std::uint32_t seed);  // all of it
  void fill(std::uint32_t seed, std::size_t from, std::size_t bytes);
  void zero();
  void change_byte(std::size_t offset);
  bool intact() const;
  void is_now_at(CUdeviceptr at) { at_ = at; }  // the program has mapped it elsewhere; 0: it is gone
  void unmake();

 private:
  const Kind& kind_;
  CUdeviceptr at_;
  std::vector<std::uint32_t> expected_;
};

// A thread of the program that reads memory once: at a closed gate, or when some memory is absent, it waits.
class Reader {
 public:
  explicit Reader(std::vector<const Memory*> all);
  ~Reader();  // ends also when its case has failed: then all faults are cleared, and the gate is opened
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  bool done() const { return done_; }
  bool intact() const { return intact_; }

 private:
  std::atomic<bool> done_{false}, intact_{true};
  std::thread thread_;
};

// What a process has done since a moment, by the journal.
class Since {
 public:
  Since() : Since(now_ns(), ::getpid()) {}
  static std::uint64_t now_ns();
  static Since all() { return all_of(::getpid()); }  // since the process began
  static Since all_of(pid_t process) { return Since(0, process); }
  std::vector<sim::Record> records() const;  // by start
  std::vector<sim::Record> of(sim::Kind kind) const;
  std::vector<sim::Record> calls(std::string_view function) const;  // by all threads
  std::uint64_t bytes(sim::Kind kind) const;
  std::size_t count(sim::Kind kind) const { return of(kind).size(); }
  std::size_t count(std::string_view function) const { return calls(function).size(); }

 private:
  Since(std::uint64_t from_ns, pid_t process) : from_ns_(from_ns), pid_(static_cast<std::uint32_t>(process)) {}
  std::uint64_t from_ns_;
  std::uint32_t pid_;
};

// Another process of this case: the executable in a role (roles.cpp), with its settings. Gone with the object.
class Program {
 public:
  Program(const std::string& role, Words settings);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  pid_t pid() const { return pid_; }
  bool ends(int seconds, int& status);

 private:
  pid_t pid_ = -1;
};
int run_role(std::string_view role);

// What the role "hold" keeps in device memory.
inline constexpr std::size_t held_bytes = 6 * chunk;
std::vector<std::uint32_t> held_words();

}  // namespace lull::residency_test

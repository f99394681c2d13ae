#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/residency/support.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include "tests/driver/faults/address.h"

namespace lull::residency_test {
namespace {

constexpr const char* case_variable = "LULL_TEST_CASE";
// Of a case on a slow machine, not what one should take; for long runs by the environment.
int longest_seconds() {
  const char* asked = std::getenv("LULL_TEST_SECONDS");
  return asked ? std::atoi(asked) : 100;
}

std::string own_files;  // the card's file and those beside it start so; empty: not the process of a case
FakeBroker* own_broker = nullptr;
std::vector<std::unique_ptr<FakeBroker>> other_brokers;
std::vector<pid_t> programs;

// The settings come later, and may be others.
void set_defaults() {
  own_files = "/dev/shm/lull-residency-" + std::to_string(::getpid());
  const std::string control = "@lull-residency-%p";
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, std::string>>{{"LULL_SIM_POOL", own_files},
                                                                  {"LULL_SIM_JOURNAL", own_files + ".journal"},
                                                                  {"LULL_SIM_CONTROL", control},
                                                                  {"LULL_SIM_MEMORY", "64MiB"},
                                                                  {"LULL_SIM_LINK", "8GB"},
                                                                  {"LULL_SIM_CONTEXT", "1MiB"},
                                                                  {"LULL_SIM_MODULE", "64KiB"},
                                                                  {"LULL_LOG", "1"}})
    (void)::setenv(name, value.c_str(), 1);
  for (const char* name : {"LULL", "LULL_HASH", "LULL_SIM_FAULTS", "LULL_SIM_SCALE", "LULL_SIM_CARD"})
    (void)::unsetenv(name);
}

void set(const char* setting) {
  const std::string text = setting;
  const auto end = text.find('=');
  (void)::setenv(text.substr(0, end).c_str(), text.substr(end + 1).c_str(), 1);
}

void clean_up() {
  for (const pid_t program : programs) (void)::kill(program, SIGKILL);
  if (own_broker) own_broker->leave();
  for (const auto& other : other_brokers) other->leave();
  for (const char* end : {"", ".journal", ".log"}) (void)::unlink((own_files + end).c_str());
}

// A case that waits for what will not happen must leave nothing behind, either.
void end_if_it_takes_too_long() {
  std::thread([seconds = longest_seconds()] {
    ::sleep(static_cast<unsigned>(seconds));
    std::printf("a case took more than %d seconds; its log:\n%s\n", seconds, log_text().c_str());
    std::fflush(stdout);
    clean_up();
    ::_exit(3);
  }).detach();
}

std::string own_path() {
  char path[4096] = "";
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return {path, length > 0 ? static_cast<std::size_t>(length) : 0};
}

pid_t start(Words settings, const std::string& argument) {
  const std::string path = own_path();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  for (const char* setting : settings) set(setting);
  ::execl(path.c_str(), path.c_str(), argument.c_str(), nullptr);
  ::_exit(127);
}

bool ended(pid_t pid, int seconds, int& status) {
  return comes_true([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }, seconds);
}

// What the broker writes before the first process comes.
void promise_chunks(const char* bytes) {
  std::ofstream(std::string(std::getenv("LULL_RUNTIME_DIR")) + "/training/socket/gpus")
      << uuid_of_card() << ' ' << total_of_card() << ' ' << bytes << '\n';
}

CUcontext start_client() {
  own_broker = new FakeBroker;
  CUcontext made = nullptr;
  OK(cuInit(0));
  if (const char* bytes = std::getenv("LULL_TEST_CHUNK")) promise_chunks(bytes);
  OK(cuDevicePrimaryCtxRetain(&made, 0));
  OK(cuCtxSetCurrent(made));
  REQUIRE(comes_true([] { return own_broker->attached(); }));
  return made;
}

}  // namespace

CUcontext context() {
  static const CUcontext made = start_client();
  return made;
}

FakeBroker& broker() {
  (void)context();
  return *own_broker;
}

FakeBroker& another_broker() { return *other_brokers.emplace_back(std::make_unique<FakeBroker>()); }

void prepare(std::uint64_t backing_bytes) {
  const Since before;
  broker().give_backing(backing_bytes);
  const char* hash = std::getenv("LULL_HASH");
  const bool hashing = !hash || std::string_view(hash) != "off";
  REQUIRE(comes_true([&] {
    return before.count("cuMemHostRegister_v2") == 1 &&
           (!hashing || Since::all().count("cuMemHostGetDevicePointer_v2") >= 1);
  }));
}

bool evict(std::uint64_t bytes) { return broker().evict_to(bytes) && broker().reaches(Phase::drained); }
bool restore() { return broker().restore(); }

bool comes_true_with_nudges(const std::function<bool()>& condition) {
  return comes_true([&] {
    if (condition()) return true;
    if (broker().reached(Phase::overdue)) broker().say_again();
    return false;
  });
}

void tell_driver(const std::string& request) {
  (void)context();
  tell_driver_of(::getpid(), request);
}

void tell_driver_of(pid_t process, const std::string& request) {
  sim::SocketAddress to, from;
  REQUIRE(to.set("@lull-residency-" + std::to_string(process)));
  REQUIRE(from.set("@lull-residency-answers-" + std::to_string(::getpid())));
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(socket.get(), from.get(), from.length) == 0);
  REQUIRE(::sendto(socket.get(), request.data(), request.size(), 0, to.get(), to.length) ==
          static_cast<ssize_t>(request.size()));
  char answer[512] = "";
  REQUIRE(::recv(socket.get(), answer, sizeof answer - 1, 0) > 0);
  REQUIRE_EQ(std::string(answer).find("error"), std::string::npos);
}

std::string log_text() {
  std::ifstream file(own_files + ".log");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::uint64_t Since::now_ns() {
  timespec now;
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

std::vector<sim::Record> Since::records() const {
  auto all = sim::read_journal(own_files + ".journal");
  std::erase_if(all, [&](const sim::Record& r) { return r.start_ns < from_ns_ || r.pid != pid_; });
  return all;
}

std::vector<sim::Record> Since::of(sim::Kind kind) const {
  auto found = records();
  std::erase_if(found, [&](const sim::Record& r) { return r.kind != kind; });
  return found;
}

std::vector<sim::Record> Since::calls(std::string_view function) const {
  const auto number = sim::function_number(function);
  REQUIRE(number != 0xffff);
  auto found = of(sim::Kind::call);
  std::erase_if(found, [&](const sim::Record& r) { return r.function != number; });
  return found;
}

std::uint64_t Since::bytes(sim::Kind kind) const {
  std::uint64_t sum = 0;
  for (const sim::Record& record : of(kind)) sum += record.bytes;
  return sum;
}

Program::Program(const std::string& role, Words settings) : pid_(start(settings, "--role=" + role)) {
  REQUIRE(pid_ > 0);
  programs.push_back(pid_);
}

Program::~Program() {
  int status = 0;
  if (pid_ > 0) (void)::kill(pid_, SIGKILL);
  if (pid_ > 0) (void)ended(pid_, 10, status);
}

bool Program::ends(int seconds, int& status) {
  if (!ended(pid_, seconds, status)) return false;
  std::erase(programs, pid_);
  pid_ = -1;
  return true;
}

void run_alone(Words words, void (*body)()) {
  const char* sentence = *words.begin();
  if (const char* wanted = std::getenv(case_variable)) {
    if (std::strcmp(wanted, sentence) != 0) return;
    for (const char* const* setting = words.begin() + 1; setting != words.end(); ++setting) set(*setting);
    return body();
  }
  (void)::setenv(case_variable, sentence, 1);
  const pid_t pid = start({}, "--minimal");
  (void)::unsetenv(case_variable);
  REQUIRE(pid > 0);
  int status = -1;
  const bool over = ended(pid, longest_seconds() + 10, status);
  if (!over) (void)::kill(pid, SIGKILL);
  CHECK(over);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
}

}  // namespace lull::residency_test

int main(int argc, char** argv) {
  using namespace lull::residency_test;
  if (argc == 2 && std::string_view(argv[1]).starts_with("--role="))
    return run_role(std::string_view(argv[1]).substr(7));
  doctest::Context doctest(argc, argv);
  if (!std::getenv(case_variable)) return doctest.run();
  set_defaults();
  // What the shim logs; doctest writes to standard output.
  const int log = ::open((own_files + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (log < 0 || ::dup2(log, STDERR_FILENO) < 0) return 1;
  end_if_it_takes_too_long();
  const int result = doctest.run();
  if (result != 0) std::printf("the log of the case:\n%s\n", log_text().c_str());
  std::fflush(nullptr);
  clean_up();
  ::_exit(result);  // the broker's thread and the shim's go with the process
}

#include "lulld.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "broker/clock.h"
#include "broker/uuid.h"

namespace lull {
namespace {

int spawn(const std::vector<std::string>& argv, const std::string& output, const std::vector<std::string>& env) {
  std::vector<char*> arguments;
  for (const auto& a : argv) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  const int pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid != 0) return pid;
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // also when a failed check ends this program at once
  for (const auto& e : env) (void)::putenv(const_cast<char*>(e.c_str()));
  const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  (void)::dup2(file, 1);
  (void)::dup2(file, 2);
  (void)::execv(arguments[0], arguments.data());
  ::_exit(127);
}

std::string read_all(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Bounded: what has not ended after twenty seconds is killed, and the status says so.
int await(int pid) {
  int status = 0;
  for (int i = 0; i < 4000; ++i) {
    if (::waitpid(pid, &status, WNOHANG) == pid)
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    ::usleep(5000);
  }
  (void)::kill(pid, SIGKILL);
  (void)::waitpid(pid, &status, 0);
  return -1;
}

}  // namespace

Ended run_program(const std::vector<std::string>& argv, const std::vector<std::string>& env) {
  char name[] = "/tmp/lull-output-XXXXXX";
  const Fd file(::mkstemp(name));
  const int status = await(spawn(argv, name, env));
  Ended ended{status, read_all(name)};
  (void)::unlink(name);
  return ended;
}

std::string Lulld::program(const char* name) {
  const char* directory = std::getenv("LULL_TEST_PROGRAMS");
  REQUIRE(directory);
  return std::string(directory) + "/" + name;
}

Lulld::Lulld(const std::string& more) {
  char name[] = "/tmp/lull-test-XXXXXX";
  REQUIRE(::mkdtemp(name));
  directory_ = name;
  write_config(more);
  start();
}

Lulld::~Lulld() {
  if (pid_ > 0) CHECK(stop(SIGTERM).status == 0);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void Lulld::write_config(const std::string& more) const {
  std::ofstream file(config());
  file << more << "\n[[gpu]]\nuuid = \"" << test_uuid
       << "\"\nmemory = \"1GiB\"\nresidue = \"32MiB\"\nheadroom = \"32MiB\"\nslots = 2\n";
}

void Lulld::start() {
  REQUIRE(pid_ == 0);
  // Without a simulated GPU in sight: the card is the configuration's.
  pid_ = spawn({program("lulld"), "--config", config(), "--runtime-dir", run_dir()}, directory_ + "/log",
               {"LD_LIBRARY_PATH="});
  const bool answers = eventually([&] { return static_cast<bool>(control()); });
  REQUIRE_MESSAGE(answers, log());
}

void Lulld::kill(int signal) const { (void)::kill(pid_, signal); }

Ended Lulld::stop(int signal) {
  kill(signal);
  const int status = await(std::exchange(pid_, 0));
  return {status, log()};
}

std::string Lulld::log() const { return read_all(directory_ + "/log"); }
std::string Lulld::socket(Class klass) const { return run_dir() + "/" + name_of(klass) + "/socket/broker"; }

Fd Lulld::control() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, (run_dir() + "/control").c_str());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  const timeval limit{10, 0};
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

nlohmann::json Lulld::ask(const std::string& line) const {
  const auto fd = control();
  REQUIRE(fd);
  const auto text = line + "\n";
  REQUIRE(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0);  // it may have heard enough before the end
  std::string answer;
  while (answer.find('\n') == std::string::npos) {
    char more[4096];
    const auto got = ::recv(fd.get(), more, sizeof more, 0);
    REQUIRE(got > 0);
    answer.append(more, static_cast<std::size_t>(got));
  }
  return nlohmann::json::parse(answer.substr(0, answer.find('\n')));
}

nlohmann::json Lulld::client(std::uint32_t number) const {
  const auto clients = gpu()["clients"];
  for (const auto& c : clients)
    if (c["client"] == number) return c;
  return nullptr;
}

FakeShim::FakeShim(const Lulld& lulld, Class klass, const char* tenant) {
  auto connected = connect_to(lulld.socket(klass).c_str());
  REQUIRE(connected);
  socket_ = std::move(*connected);
  tenant_ = tenant;
}

bool FakeShim::hello(std::uint16_t major, std::uint16_t minor, std::uint64_t backing) {
  auto hello = make_message<Hello>();
  hello.major = major;
  hello.minor = minor;
  hello.backing_bytes = backing;
  hello.flags = flags;
  std::strncpy(hello.tenant, tenant_.c_str(), sizeof hello.tenant - 1);
  std::strcpy(hello.shim_version, "test");
  send(std::as_bytes(std::span(&hello, 1)));
  (void)eventually([&] { return !receive() || number != 0 || !refused.empty(); });
  return number != 0;
}

void FakeShim::send(std::span<const std::byte> bytes) { (void)send_packet(socket_.get(), bytes); }

void FakeShim::attach(std::uint64_t needed, std::uint64_t resident, const char* uuid) {
  said().needed = needed;
  said().resident = resident;
  auto attach = make_message<Attach>();
  const auto parsed = parse_uuid(uuid);
  std::copy(parsed->begin(), parsed->end(), attach.uuid);
  attach.total_bytes = 1u << 30;
  send(std::as_bytes(std::span(&attach, 1)));
}

bool FakeShim::receive() {
  for (;;) {
    auto packet = receive_packet(socket_.get());
    if (!packet) return packet.error().code == EAGAIN;
    if (packet->size == 0) return false;
    const auto message = parse_message(packet->view());
    REQUIRE(message);
    if (const auto* welcome = std::get_if<Welcome>(&*message)) {
      REQUIRE(packet->fd_count == 3);
      CHECK(check_shared_memory(packet->fds[0].get(), page_bytes));
      CHECK(check_shared_memory(packet->fds[1].get(), page_bytes));
      const auto map = [](int fd, int protection) {
        return Mapping(::mmap(nullptr, page_bytes, protection, MAP_SHARED, fd, 0), page_bytes);
      };
      CHECK(::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, packet->fds[0].get(), 0) == MAP_FAILED);
      down = map(packet->fds[0].get(), PROT_READ);
      up = map(packet->fds[1].get(), PROT_READ | PROT_WRITE);
      doorbell_ = std::move(packet->fds[2]);
      number = welcome->client;
    } else if (const auto* no = std::get_if<Refused>(&*message)) {
      refused = no->sentence;
    } else if (std::holds_alternative<Spilled>(*message)) {
      ++spilled;
    } else if (std::holds_alternative<Filled>(*message)) {
      ++filled;
    } else if (const auto* arena = std::get_if<Arena>(&*message)) {
      CHECK(check_shared_memory(packet->fds[0].get(), arena->bytes));
      arena_bytes += arena->bytes;
      arenas.push_back({std::move(packet->fds[0]), arena->bytes, arena->number});
    }
  }
}

// As a shim does whose arenas hold nothing.
void FakeShim::return_down_to(std::uint64_t limit) {
  for (std::size_t i = 0; i < arenas.size();) {
    const auto& arena = arenas[i];
    if (arena.number == 0 || arena_bytes - arena.bytes < limit) {
      ++i;
      continue;
    }
    auto returned = make_message<Returned>();
    returned.number = arena.number;
    returned.bytes = arena.bytes;
    send(std::as_bytes(std::span(&returned, 1)));
    arena_bytes -= arena.bytes;
    arenas.erase(arenas.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

bool FakeShim::hung_up() {
  return eventually([&] { return !receive(); });
}

void FakeShim::ring() {
  const std::uint64_t one = 1;
  (void)!::write(doorbell_.get(), &one, sizeof one);
}

void FakeShim::act() {
  (void)receive();
  const auto gate = *parse_gate(asked().gate.load());
  if (gate.state == GateState::unmanaged) return;  // a real one could not hold more than the card either
  const bool news = pack(gate) != said().seen_gate.load();
  if (news && gate.state == GateState::closed && busy) ++said().wants;
  said().seen_gate = pack(gate);
  const auto quota_word = asked().quota_plus_1.load();
  said().seen_quota_plus_1 = quota_word;
  const auto quota = parse_limit(quota_word).value_or(~0ull), needed = said().needed.load(),
             before = said().resident.load();
  const auto after = std::min(needed, quota);
  if (after < before) said().evicted_bytes += before - after;
  if (after > before) said().restored_bytes += after - before;
  said().resident = after;
  const bool closed = gate.state == GateState::closed;
  said().phase = pack(PhaseWord{gate.generation, closed ? Phase::drained : Phase::running});
  if (!closed && busy && after >= needed) {
    ++said().submissions;
    if (passed_ != gate.generation) said().first_pass_ns = now_ns();
    passed_ = gate.generation;
  }
  if (news || after != before) ring();
}

}  // namespace lull

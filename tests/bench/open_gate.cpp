#include "tests/bench/open_gate.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "protocol/socket.h"

namespace lull::bench {
namespace {

constexpr int patience_ms = 10'000;
constexpr GateWord open_word{1, GateState::open};

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return std::move(*result);
}

void await_readable(int fd, const char* what) {
  pollfd wait{fd, POLLIN, 0};
  if (::poll(&wait, 1, patience_ms) <= 0) throw std::runtime_error(std::string("waited 10 s for ") + what);
}

std::string make_runtime_dir() {
  std::string path = std::filesystem::temp_directory_path() / "lull-bench-XXXXXX";
  if (!::mkdtemp(path.data())) throw std::runtime_error("cannot make a temporary directory");
  std::filesystem::create_directories(path + "/training/socket");
  return path;
}

}  // namespace

OpenGate::OpenGate() : runtime_dir_(make_runtime_dir()) {
  listener_ = take(listen_at((runtime_dir_ + "/training/socket/broker").c_str(), 0600));
}

OpenGate::~OpenGate() {
  std::error_code ignored;
  std::filesystem::remove_all(runtime_dir_, ignored);
}

void OpenGate::welcome(std::uint32_t drain_limit_us) {
  await_readable(listener_.get(), "the shim to connect: is it preloaded?");
  client_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client_) throw std::runtime_error("accept");
  await_readable(client_.get(), "the shim's hello");
  const auto packet = take(receive_packet(client_.get()));
  const auto message = parse_message(packet.view());
  if (!message || !std::holds_alternative<Hello>(*message)) throw std::runtime_error("the shim did not say hello");

  down_ = take(make_shared_memory("lull-down", page_bytes, Writers::creator_only));
  up_ = take(make_shared_memory("lull-up", page_bytes, Writers::everyone));
  doorbell_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  auto& gpu = down_.mapping.as<DownPage>()->gpu[0];
  gpu.quota_plus_1.store(pack_limit(1ull << 30), std::memory_order_release);
  gpu.drain_limit_us.store(drain_limit_us, std::memory_order_release);
  gpu.gate.store(pack(open_word), std::memory_order_release);  // all seen by the acquire loads of the shim

  auto welcome = make_message<Welcome>();
  welcome.major = protocol_major;
  welcome.minor = protocol_minor;
  welcome.client = 1;
  const int fds[] = {down_.fd.get(), up_.fd.get(), doorbell_.get()};
  (void)take(send_message(client_.get(), welcome, fds));
}

bool OpenGate::seen() const {
  const auto& gpu = up_.mapping.as<UpPage>()->gpu[0];
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (gpu.seen_gate.load(std::memory_order_acquire) != pack(open_word)) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace lull::bench

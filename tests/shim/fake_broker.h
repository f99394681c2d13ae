// tests/shim/fake_broker.h: the other side of one shim, moved by hand: a test sets gate and quota and reads the
// answers.
#pragma once
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "protocol/memory.h"
#include "protocol/socket.h"
#include "shim/futex.h"

namespace lull {

// Waits for a state, not for luck; ten seconds are a failure, not a timing.
template <class Condition>
bool comes_true(Condition condition, int seconds = 10) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

// Outside a test case, where doctest's assertions cannot be used.
inline void must(bool done) {
  if (!done) throw std::runtime_error("the test's broker could not be set up");
}

class FakeBroker {
 public:
  FakeBroker() {
    must(::mkdtemp(folder_) != nullptr);
    for (const char* part : {"/training", "/training/socket"})
      must(::mkdir((folder_ + std::string(part)).c_str(), 0755) == 0);
    must(::setenv("LULL_RUNTIME_DIR", folder_, 1) == 0);
    must(::setenv("LULL_CLASS", "training", 1) == 0);
    auto listener = listen_at((folder_ + std::string("/training/socket/broker")).c_str(), 0666);
    must(static_cast<bool>(listener));
    listener_ = std::move(*listener);
    thread_ = std::thread([this] { welcome(); });
  }
  ~FakeBroker() {
    stop_ = true;
    thread_.join();
    leave();
  }
  // Takes its files along; for a test that ends in the middle.
  void leave() const {
    std::error_code gone_already;
    std::filesystem::remove_all(folder_, gone_already);
  }

  // Dies, and another one takes its place that knows nothing and numbers its gates from 1. False: the shim has not
  // come back.
  bool restart() {
    stop_ = true;
    thread_.join();
    stop_ = hung_up_ = false;
    attached_ = 0;
    client_ = {};
    std::fill(std::begin(generations_), std::end(generations_), 0);
    thread_ = std::thread([this] { welcome(); });
    return comes_true([&] { return attached(); });
  }

  // The first quota and gate a shim hears are these.
  std::uint64_t first_quota = ~0ull >> 1;
  GateState first_gate = GateState::open;
  unsigned card = 0;                                // the one that all other functions are about
  bool rings = true;                                // false: what it writes has to be found without a wake
  std::uint16_t major = protocol_major, minor = 0;  // that it says it speaks

  bool attached() const { return (attached_ >> card & 1) != 0; }
  bool hung_up() const { return hung_up_; }  // the client has gone
  const UpGpu& up() const { return up_.mapping.as<UpPage>()->gpu[card]; }
  PhaseWord phase() const { return *parse_phase(up().phase.load()); }
  std::uint64_t generation() const { return generations_[card]; }  // of the gate as it was last set

  bool is_open() const { return states_[card] == GateState::open; }
  std::uint64_t quota() const { return down_.mapping.as<DownPage>()->gpu[card].quota_plus_1.load() - 1; }

  void gate(GateState state) { gate(state, card); }
  void quota(std::uint64_t bytes) { quota(bytes, card); }
  void limit(std::uint32_t us) {  // of work in flight; 0: none
    down(card).drain_limit_us.store(us, std::memory_order_release);
    wake();
  }
  void admit(std::uint64_t bytes) {
    down(card).admit_plus_1.store(bytes + 1, std::memory_order_release);
    wake();
  }
  // Room for so much of what the client wants for native memory. Until the first word it asks for none.
  void native_room(std::uint64_t bytes) {
    down(card).native_room_plus_1.store(bytes + 1, std::memory_order_release);
    wake();
  }
  void no_native_room() {  // as a broker that knows nothing of it
    down(card).native_room_plus_1.store(0, std::memory_order_release);
    wake();
  }
  void refuse_native(std::uint64_t wanted) {
    down(card).native_refused.store(wanted, std::memory_order_release);
    wake();
  }
  // Number 0: it is never asked back.
  void give_backing(std::uint64_t bytes, std::uint64_t number = 0) {
    auto memory = make_shared_memory("lull-test-arena", bytes, Writers::everyone);
    must(static_cast<bool>(memory));
    give_arena(*memory, bytes, number);
  }
  void give_arena(const SharedMemory& memory, std::uint64_t bytes, std::uint64_t number) {
    auto arena = make_message<Arena>();
    arena.bytes = bytes;
    arena.number = number;
    const int fds[] = {memory.fd.get()};
    must(static_cast<bool>(send_message(client_.get(), arena, fds)));
  }
  // What all arenas together should come down to.
  void limit_backing(std::optional<std::uint64_t> bytes) {
    down_.mapping.as<DownPage>()->backing_limit_plus_1.store(bytes ? *bytes + 1 : 0, std::memory_order_release);
    wake();
  }
  std::vector<Returned> returned() const {  // so far
    const std::scoped_lock lock(returned_mutex_);
    return returned_;
  }
  void wake() {
    if (!rings) return;
    down_.mapping.as<DownPage>()->wake.fetch_add(1, std::memory_order_release);
    futex::wake_all(down_.mapping.as<DownPage>()->wake, futex::Scope::shared);
  }
  void say_again() { gate(states_[card], card); }  // the same under a new generation: what failed is tried at once
  bool reached(Phase wanted) const { return phase().phase == wanted && phase().generation == generation(); }
  bool reaches(Phase wanted) {
    return comes_true([&] { return reached(wanted); });
  }
  // Closed, drained, and down to `bytes`.
  bool evict_to(std::uint64_t bytes) {
    gate(GateState::closed);
    if (!reaches(Phase::drained)) return false;
    quota(bytes);
    return comes_true([&] { return up().resident.load() <= bytes; });
  }
  bool restore() {
    quota(~0ull >> 1);
    // Everything has its place again, and the copies into it have finished.
    const bool back =
        comes_true([&] { return up().resident.load() == up().needed.load() && phase().phase != Phase::moving; });
    gate(GateState::open);
    return back;
  }

 private:
  DownGpu& down(unsigned slot) { return down_.mapping.as<DownPage>()->gpu[slot]; }
  void gate(GateState state, unsigned slot) {
    ++generations_[slot];
    states_[slot] = state;
    down(slot).gate.store(pack(GateWord{generations_[slot], state}), std::memory_order_release);
    wake();
  }
  void quota(std::uint64_t bytes, unsigned slot) {
    down(slot).quota_plus_1.store(bytes + 1, std::memory_order_release);
    wake();
  }
  bool readable(int fd) const {
    pollfd wait{fd, POLLIN, 0};
    return ::poll(&wait, 1, 50) == 1;
  }
  void welcome() {
    while (!stop_ && !readable(listener_.get())) {
    }
    if (stop_) return;
    client_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    down_ = std::move(*make_shared_memory("lull-test-down", page_bytes, Writers::creator_only));
    up_ = std::move(*make_shared_memory("lull-test-up", page_bytes, Writers::everyone));
    doorbell_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    while (!stop_) {
      if (!readable(client_.get())) continue;
      auto packet = receive_packet(client_.get());
      if (!packet || packet->size == 0) return void(hung_up_ = true);
      const auto message = parse_message(packet->view());
      if (message && std::holds_alternative<Hello>(*message)) answer_hello();
      if (message && std::holds_alternative<Attach>(*message)) answer_attach(std::get<Attach>(*message).slot);
      if (message && std::holds_alternative<Returned>(*message)) note(std::get<Returned>(*message));
    }
  }
  void answer_hello() {
    auto answer = make_message<Welcome>();
    answer.major = major;
    answer.minor = minor;
    answer.client = 1;
    const int fds[] = {down_.fd.get(), up_.fd.get(), doorbell_.get()};
    (void)send_message(client_.get(), answer, fds);
  }
  void answer_attach(unsigned slot) {
    must(slot < max_gpus);
    gate(first_gate, slot);
    quota(first_quota, slot);
    attached_ |= 1u << slot;
  }

  void note(const Returned& returned) {
    const std::scoped_lock lock(returned_mutex_);
    returned_.push_back(returned);
  }

  char folder_[32] = "/tmp/lull-fake-XXXXXX";
  Fd listener_, client_, doorbell_;
  SharedMemory down_, up_;
  std::uint64_t generations_[max_gpus] = {};
  GateState states_[max_gpus] = {};
  mutable std::mutex returned_mutex_;
  std::vector<Returned> returned_;
  std::atomic<bool> stop_{false}, hung_up_{false};
  std::atomic<std::uint32_t> attached_{0};  // a bit for each card
  std::thread thread_;
};

}  // namespace lull

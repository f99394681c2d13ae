#include "broker/arenas.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "protocol/memory.h"

extern char** environ;

namespace lull {
namespace {

using policy::Bytes;

// Reserved pages are all there or none of them: mapping takes them out of the reserve at once.
Result<SharedMemory> make_memory(const ArenaOrder& order) {
  if (order.reserved_pages)
    if (auto memory = make_shared_memory("lull-arena", order.bytes, Writers::everyone, Pages::reserved)) return memory;
  return make_shared_memory("lull-arena", order.bytes, Writers::everyone);
}

}  // namespace

ArenaMaker::ArenaMaker() : finished_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  thread_ = std::thread([this] { run(); });
  (void)::pthread_setname_np(thread_.native_handle(), "lulld-arenas");  // for ps only
}

ArenaMaker::~ArenaMaker() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
    if (child_ > 0) (void)::kill(child_, SIGKILL);  // not reaped before child_ is cleared, so the number is its own
  }
  wanted_.notify_one();
  thread_.join();
}

bool ArenaMaker::busy() const {
  const std::lock_guard guard(mutex_);
  return busy_;
}

void ArenaMaker::make(const ArenaOrder& order) {
  {
    const std::lock_guard guard(mutex_);
    if (busy_) return;
    busy_ = true;
    order_ = order;
  }
  wanted_.notify_one();
}

std::optional<ArenaMaker::Made> ArenaMaker::take() {
  std::uint64_t count = 0;
  (void)!::read(finished_.get(), &count, sizeof count);
  const std::lock_guard guard(mutex_);
  if (!made_) return std::nullopt;
  busy_ = false;
  return std::exchange(made_, std::nullopt);
}

void ArenaMaker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return stop_ || order_; });
    if (stop_) return;
    const auto order = *std::exchange(order_, std::nullopt);
    lock.unlock();
    auto made = produce(order);
    lock.lock();
    made_ = std::move(made);
    const std::uint64_t one = 1;
    (void)!::write(finished_.get(), &one, sizeof one);  // a full counter is readable too
  }
}

ArenaMaker::Made ArenaMaker::produce(const ArenaOrder& order) {
  auto memory = make_memory(order);
  if (!memory) return {order.id, Fd(), order.bytes};
  memory->mapping = Mapping();
  if (!touch(memory->fd.get(), order)) return {order.id, Fd(), order.bytes};
  return {order.id, std::move(memory->fd), order.bytes};
}

bool ArenaMaker::touch(int fd, const ArenaOrder& order) {
  constexpr int there = 3;
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) return false;
  (void)posix_spawn_file_actions_adddup2(&actions, fd,
                                         there);  // fails only for lack of memory; the child then reports it
  posix_spawnattr_t attributes;
  (void)posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  (void)posix_spawnattr_setsigmask(&attributes, &none);
  (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const auto number = std::to_string(there), size = std::to_string(order.bytes);
  const auto node = order.node ? std::to_string(*order.node) : std::string();
  char name[] = "lulld", option[] = "--touch-arena";
  char* const arguments[] = {name,
                             option,
                             const_cast<char*>(number.c_str()),
                             const_cast<char*>(size.c_str()),
                             order.node ? const_cast<char*>(node.c_str()) : nullptr,
                             nullptr};
  pid_t pid = 0;
  int status = -1;
  {
    const std::lock_guard guard(mutex_);
    if (!stop_ && posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environ) == 0) child_ = pid;
  }
  (void)posix_spawn_file_actions_destroy(&actions);
  (void)posix_spawnattr_destroy(&attributes);
  if (pid == 0) return false;
  // First only look: until it is reaped its number cannot become somebody else's, and the destructor may kill it.
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  const std::lock_guard guard(mutex_);
  child_ = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace lull

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
constexpr Bytes mib = 1ull << 20, granule = 2 * mib;

Bytes round_up(Bytes bytes, Bytes unit) { return (bytes + unit - 1) / unit * unit; }

// Pieces are whole chunks, between one and 1 GiB: registered with the driver in one go, soon usable, not too many.
Bytes piece(const Backed& b, Bytes target) {
  const Bytes unit = round_up(std::max(b.chunk, granule), granule);
  const Bytes least = std::max(unit, std::min(64 * mib, 16 * unit));
  return round_up(std::clamp(target - b.backing, least, std::max(least, 1024 * mib)), unit);
}

}  // namespace

std::optional<Growth> next_growth(std::span<const Backed> clients, const ArenaLimits& limits) {
  Bytes held = 0;
  for (const auto& c : clients) held += c.backing;
  const auto try_for = [&](const Backed& c, Bytes target, Bytes budget) -> std::optional<Growth> {
    if (c.needed == 0 || c.backing >= target) return std::nullopt;
    const Bytes bytes = piece(c, target);
    Bytes of_uid = 0;
    for (const auto& other : clients)
      if (other.uid == c.uid) of_uid += other.backing;
    if (held + bytes > budget || of_uid + bytes > limits.per_uid) return std::nullopt;
    return Growth{c.id, bytes};
  };
  for (const auto& c : clients)
    if (c.deficit > 0)
      if (auto growth = try_for(c, std::min(c.needed, c.deficit) + c.chunk, limits.budget)) return growth;
  for (const auto& c : clients)
    if (auto growth = try_for(c, c.needed + c.chunk, clients.size() == 1 ? limits.budget / 2 : limits.budget))
      return growth;
  for (const auto& c : clients)
    if (c.starved && c.backing < 2 * c.needed + c.chunk)
      if (auto growth = try_for(c, c.backing + c.chunk, limits.budget)) return growth;
  return std::nullopt;
}

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

void ArenaMaker::make(Growth growth) {
  {
    const std::lock_guard guard(mutex_);
    if (busy_) return;
    busy_ = true;
    order_ = growth;
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

void ArenaMaker::dispose(Fd fd) {
  {
    const std::lock_guard guard(mutex_);
    disposed_.push_back(std::move(fd));
  }
  wanted_.notify_one();
}

void ArenaMaker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return stop_ || order_ || !disposed_.empty(); });
    if (stop_) return;
    auto garbage = std::exchange(disposed_, {});
    const auto order = std::exchange(order_, std::nullopt);
    lock.unlock();
    garbage.clear();
    auto made = order ? std::optional(produce(*order)) : std::nullopt;
    lock.lock();
    if (!made) continue;
    made_ = std::move(made);
    const std::uint64_t one = 1;
    (void)!::write(finished_.get(), &one, sizeof one);  // a full counter is readable too
  }
}

ArenaMaker::Made ArenaMaker::produce(Growth growth) {
  auto memory = make_shared_memory("lull-arena", growth.bytes, Writers::everyone);
  if (!memory) return {growth.id, Fd(), growth.bytes};
  memory->mapping = Mapping();
  if (!touch(memory->fd.get(), growth.bytes)) return {growth.id, Fd(), growth.bytes};
  return {growth.id, std::move(memory->fd), growth.bytes};
}

bool ArenaMaker::touch(int fd, Bytes bytes) {
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
  const auto size = std::to_string(bytes), number = std::to_string(there);
  char name[] = "lulld", option[] = "--touch-arena";
  char* const arguments[] = {name, option, const_cast<char*>(number.c_str()), const_cast<char*>(size.c_str()), nullptr};
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

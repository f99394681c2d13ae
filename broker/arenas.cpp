#include "broker/arenas.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "broker/helper.h"
#include "protocol/memory.h"

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
  std::vector<std::string> arguments{"lulld", "--touch-arena", std::to_string(there), std::to_string(order.bytes)};
  if (order.node) arguments.push_back(std::to_string(*order.node));
  {
    const std::lock_guard guard(mutex_);
    if (!stop_) child_ = start_helper(arguments, fd, there);
  }
  const pid_t pid = child_;
  if (pid == 0) return false;
  (void)await_end(pid, policy::never);
  const std::lock_guard guard(mutex_);  // the destructor kills what child_ names
  child_ = 0;
  return reap_helper(pid);
}

}  // namespace lull

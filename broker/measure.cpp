#include "broker/measure.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "broker/clock.h"
#include "broker/helper.h"

namespace lull {
namespace {

constexpr policy::Time longest = 60 * policy::second;  // a driver's first start may take several of them
constexpr std::size_t most_bytes = 16 << 10;

// Until the other end is closed; nothing: too much, or too late.
std::optional<std::string> read_answer(int fd, policy::Time deadline) {
  std::string text;
  for (char part[4096]; text.size() <= most_bytes;) {
    const auto now = now_ns();
    pollfd wait{fd, POLLIN, 0};
    if (now >= deadline) return std::nullopt;
    if (::poll(&wait, 1, static_cast<int>((deadline - now) / policy::ms) + 1) < 0 && errno != EINTR)
      return std::nullopt;
    if (wait.revents == 0) continue;
    const auto got = ::read(fd, part, sizeof part);
    if (got == 0) return text;
    if (got > 0) text.append(part, static_cast<std::size_t>(got));
  }
  return std::nullopt;
}

std::string file_of(const std::string& directory, const std::string& uuid) {
  return directory + "/card-" + uuid + ".json";
}

}  // namespace

CardMeasurer::CardMeasurer(SpeedStore store, std::string driver_version)
    : store_(std::move(store)),
      driver_(std::move(driver_version)),
      answered_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  thread_ = std::thread([this] { run(); });
  (void)::pthread_setname_np(thread_.native_handle(), "lulld-measure");  // for ps only
}

CardMeasurer::~CardMeasurer() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
    if (child_ > 0) (void)::kill(child_, SIGKILL);  // not reaped before child_ is cleared
  }
  asked_.notify_one();
  thread_.join();
}

void CardMeasurer::start(const std::string& uuid) {
  {
    const std::lock_guard guard(mutex_);
    if (busy_) return;
    busy_ = true;
    cancelled_ = false;
    question_ = uuid;
  }
  asked_.notify_one();
}

void CardMeasurer::cancel() {
  const std::lock_guard guard(mutex_);
  cancelled_ = true;
  if (child_ > 0) (void)::kill(child_, SIGKILL);
}

bool CardMeasurer::busy() const {
  const std::lock_guard guard(mutex_);
  return busy_;
}

std::optional<CardMeasurer::Answer> CardMeasurer::take() {
  std::uint64_t count = 0;
  (void)!::read(answered_.get(), &count, sizeof count);
  const std::lock_guard guard(mutex_);
  if (!answer_) return std::nullopt;
  busy_ = false;
  return std::exchange(answer_, std::nullopt);
}

void CardMeasurer::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    asked_.wait(lock, [this] { return stop_ || question_; });
    if (stop_) return;
    const auto uuid = *std::exchange(question_, std::nullopt);
    lock.unlock();
    auto answer = ask(uuid);
    if (answer.speed) answer.kept = store_.save({uuid, driver_, *answer.speed});
    lock.lock();
    answer_ = std::move(answer);
    const std::uint64_t one = 1;
    (void)!::write(answered_.get(), &one, sizeof one);  // a full counter is readable too
  }
}

CardMeasurer::Answer CardMeasurer::ask(const std::string& uuid) {
  constexpr int there = 3;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {uuid, {}, "no pipe"};
  const Fd ours(ends[0]);
  Fd theirs(ends[1]);
  {
    const std::lock_guard guard(mutex_);
    if (stop_ || cancelled_) return {uuid, {}, "cancelled"};
    child_ = start_helper({"lulld", "--measure-card", uuid, std::to_string(there)}, theirs.get(), there);
  }
  const pid_t pid = child_;
  if (pid == 0) return {uuid, {}, "the helper could not be started"};
  theirs.reset();
  const auto text = read_answer(ours.get(), now_ns() + longest);
  if (!text) (void)::kill(pid, SIGKILL);
  if (!ended(pid)) return {uuid, {}, "the broker ends"};
  const std::lock_guard guard(mutex_);
  child_ = 0;
  const bool well = reap_helper(pid);
  if (cancelled_) return {uuid, {}, "cancelled"};
  if (!text) return {uuid, {}, "no answer in time"};
  if (!well) return {uuid, {}, text->empty() ? "the helper has failed" : one_line(*text)};
  auto speed = parse_speed(nlohmann::json::parse(*text, nullptr, false));
  if (!speed) return {uuid, {}, "the helper's figures make no sense"};
  return {uuid, std::move(speed), ""};
}

// One that does not die, inside the driver's part of the kernel, keeps this thread busy, but not the end of the broker.
bool CardMeasurer::ended(pid_t pid) const {
  while (!await_end(pid, policy::second)) {
    const std::lock_guard guard(mutex_);
    if (stop_) return false;
  }
  return true;
}

std::optional<CardSpeed> SpeedStore::load(const std::string& uuid, const std::string& driver) const {
  if (!open()) return std::nullopt;
  const Fd file(::open(file_of(directory_, uuid).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string text(most_bytes, 0);
  const auto got = file ? ::read(file.get(), text.data(), text.size()) : -1;
  if (got <= 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(got));
  auto stored = parse_stored(text);
  if (!stored || stored->uuid != uuid || stored->driver != driver) return std::nullopt;
  return std::move(stored->speed);
}

bool SpeedStore::save(const StoredSpeed& stored) const {
  if (!open()) return false;
  const auto path = file_of(directory_, stored.uuid), beside = path + ".new";
  const auto text = show_speed(stored) + "\n";
  const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
         ::rename(beside.c_str(), path.c_str()) == 0;
}

}  // namespace lull

#include "broker/gauge.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace lull {
namespace {

std::optional<CardUse> ask_card(const Nvml& nvml, std::size_t index) {
  const auto before = nvml.memory(index);
  std::vector<Stranger> processes;
  for (const auto& [pid, used] : nvml.processes(index)) processes.push_back({pid, used, command_of(pid)});
  const auto after = nvml.memory(index);
  if (!before || !after) return std::nullopt;
  return CardUse{after->used, std::move(processes), before->used == after->used};
}

}  // namespace

std::optional<policy::Bytes> CardUse::of(int pid) const {
  for (const auto& process : processes)
    if (process.pid == pid) return process.used;  // nothing, too, if it is not told
  return std::nullopt;
}

Gauge::Gauge(const Nvml* nvml, std::vector<std::optional<std::size_t>> nvml_index)
    : nvml_(nvml), nvml_index_(std::move(nvml_index)), answered_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  thread_ = std::thread([this] { run(); });
  (void)::pthread_setname_np(thread_.native_handle(), "lulld-gauge");  // for ps only
}

Gauge::~Gauge() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
  }
  asked_.notify_one();
  thread_.join();
}

void Gauge::ask(std::vector<std::optional<policy::Bytes>> marks) {
  {
    const std::lock_guard guard(mutex_);
    if (wanted_) return;  // still at the last one
    wanted_ = true;
    marks_ = std::move(marks);
  }
  asked_.notify_one();
}

std::optional<Gauge::Answer> Gauge::take() {
  std::uint64_t count = 0;
  (void)!::read(answered_.get(), &count, sizeof count);
  const std::lock_guard guard(mutex_);
  return std::exchange(answer_, std::nullopt);
}

void Gauge::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    asked_.wait(lock, [this] { return wanted_ || stop_; });
    if (stop_) return;
    Answer answer;
    answer.marks = marks_;
    lock.unlock();
    answer.host = read_host_memory();
    for (const auto& index : nvml_index_)
      answer.used.push_back(nvml_ && index ? ask_card(*nvml_, *index) : std::nullopt);
    lock.lock();
    answer_ = std::move(answer);
    wanted_ = false;
    const std::uint64_t one = 1;
    (void)!::write(answered_.get(), &one, sizeof one);  // a full counter is readable too
  }
}

}  // namespace lull

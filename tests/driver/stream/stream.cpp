#include "tests/driver/stream/stream.h"

#include <time.h>

#include <algorithm>
#include <chrono>

#include "tests/driver/card/settings.h"
#include "tests/driver/context/context.h"
#include "tests/driver/faults/faults.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/pool.h"
#include "tests/driver/stream/thread.h"

namespace lull::sim {
namespace {

constexpr auto look_again = std::chrono::milliseconds(50);  // life().stop has no condition of its own

std::uint32_t next_number() {
  static std::atomic<std::uint32_t> last{0};
  return ++last;
}

}  // namespace

Stream::Stream(const std::shared_ptr<Context>& context, std::shared_ptr<Life> life, Kind kind, int priority)
    : context_(context),
      life_(std::move(life)),
      device_(context->device()),
      kind_(kind),
      priority_(priority),
      number_(next_number()) {}

void Stream::start() {
  has_thread_ = start_thread("sim-stream", [self = shared_from_this()] { self->serve(); });
  if (!has_thread_) life_->fail(CUDA_ERROR_OPERATING_SYSTEM);
}

void Stream::wait_for_room() {
  std::unique_lock lock(mutex_);
  while (submitted_ - completed_ >= settings().queue_depth && !life_->stop) finished_.wait_for(lock, look_again);
}

Ticket Stream::push(OperationPtr work, std::vector<Ticket> dependencies) {
  const std::scoped_lock lock(mutex_);
  if (closed_) return {};  // its thread may have gone: who waits for this work would wait for ever
  queue_.push_back({std::move(work), std::move(dependencies), now_ns()});
  ++submitted_;
  if (!has_thread_) start();
  if (!has_thread_) {  // nobody will do it; the context has its error
    queue_.clear();
    completed_ = submitted_;
  }
  arrived_.notify_one();
  return {shared_from_this(), submitted_};
}

std::uint64_t Stream::submitted() const {
  const std::scoped_lock lock(mutex_);
  return submitted_;
}

bool Stream::idle() const {
  const std::scoped_lock lock(mutex_);
  return submitted_ == completed_;
}

bool Stream::wait_until(std::uint64_t number, std::uint64_t limit_ns) const {
  std::unique_lock lock(mutex_);
  while (completed_ < number) {
    if (now_ns() >= limit_ns) return false;
    finished_.wait_for(
        lock, std::min<std::chrono::nanoseconds>(
                  look_again, std::chrono::nanoseconds(std::min<std::uint64_t>(limit_ns - now_ns(), 1u << 30))));
  }
  return true;
}

Stream::Attributes Stream::attributes() const {
  const std::scoped_lock lock(mutex_);
  return attributes_;
}

CUstreamAttrValue Stream::attribute(CUstreamAttrID id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = attributes_.find(id);
  CUstreamAttrValue value{};
  if (id == CU_STREAM_ATTRIBUTE_PRIORITY) value.priority = priority_;
  if (id == CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY) value.syncPolicy = CU_SYNC_POLICY_AUTO;
  return found == attributes_.end() ? value : found->second;
}

void Stream::set_attribute(CUstreamAttrID id, const CUstreamAttrValue& value) {
  const std::scoped_lock lock(mutex_);
  attributes_[id] = value;
}

void Stream::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  arrived_.notify_all();
}

void Stream::wake() {
  const std::scoped_lock lock(mutex_);
  arrived_.notify_all();
  finished_.notify_all();
}

void Stream::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    arrived_.wait(lock, [&] { return !queue_.empty() || closed_; });
    if (queue_.empty()) return;
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    perform(entry);
    entry = {};  // what it held is given back before anybody can see that it is over
    lock.lock();
    ++completed_;
    finished_.notify_all();
  }
}

std::uint64_t Stream::await(const std::vector<Ticket>& dependencies) {
  std::uint64_t end_ns = 0;
  for (const Ticket& ticket : dependencies) {
    ticket.stream->wait_until(ticket.number);
    end_ns = std::max(end_ns, ticket.stream->modelled_end_ns_.load(std::memory_order_relaxed));
  }
  return std::min(end_ns, now_ns());  // the other stream may be further on than we had to wait for
}

void Stream::perform(Entry& entry) {
  const std::uint64_t others_ns = await(entry.dependencies);
  const std::uint64_t ready_ns =
      std::max({entry.submitted_ns, modelled_end_ns_.load(std::memory_order_relaxed), others_ns});
  Running running{device_, *life_, number_, ready_ns, 0, priority_};
  fault_at_work(number_, *life_);
  const bool skipped =
      entry.work->after() == After::error_is_skipped && (life_->stop || life_->sticky() != CUDA_SUCCESS);
  if (!skipped) {
    if (const CUresult failed = entry.work->run(running)) life_->fail(failed);
  }
  const std::uint64_t end_ns = running.end_ns ? running.end_ns : now_ns();
  modelled_end_ns_.store(std::max(end_ns, ready_ns), std::memory_order_relaxed);
}

CUresult synchronize(Stream& stream) {
  if (stream.kind() == Stream::Kind::legacy) {
    // An empty piece of work: it is over when everything it is ordered after is.
    const CUresult failed = submit(stream, CU_GRAPH_NODE_TYPE_EMPTY, [](Running& r) {
      r.end_ns = r.ready_ns;
      return CUDA_SUCCESS;
    });
    if (failed) return failed;
  }
  stream.wait_until(stream.submitted());
  trim_pools_at_synchronisation();
  return stream.life().sticky();
}

bool has_pending(Stream& stream) {
  if (!stream.idle()) return true;
  if (stream.kind() != Stream::Kind::legacy) return false;
  const auto context = stream.context();
  return context && std::ranges::any_of(context->streams(), [](const auto& s) {
           return s->kind() != Stream::Kind::non_blocking && !s->idle();
         });
}

void sleep_until(std::uint64_t time_ns, const Life& life) {
  constexpr std::uint64_t step_ns = 10'000'000;
  for (std::uint64_t now = now_ns(); now < time_ns && !life.stop; now = now_ns()) {
    const std::uint64_t until = std::min(time_ns, now + step_ns);
    const timespec at{static_cast<time_t>(until / 1'000'000'000), static_cast<long>(until % 1'000'000'000)};
    ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
  }
}

}  // namespace lull::sim

#include "tests/driver/context/context.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "tests/driver/array/array.h"
#include "tests/driver/card/settings.h"
#include "tests/driver/code/module.h"
#include "tests/driver/graph/capture.h"
#include "tests/driver/graph/exec.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/pool.h"
#include "tests/driver/memory/report.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/entry.h"
#include "tests/driver/texture/texture.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t drain_ns = 1'000'000'000;  // work still running when a context goes: this long, then it stops
constexpr std::uint64_t stop_ns = 2'000'000'000;

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

// Lives as long as a thread that has had a stream of its own.
struct ThreadStreams {
  int tid = 0;
  ~ThreadStreams() {
    if (tid == 0 || !initialised()) return;  // the latter: a forked child, where any lock may be held for ever
    for (const auto& context : registry<Context>().all()) context->end_thread_stream(tid);
  }
};

int end_streams_with_this_thread() {
  thread_local ThreadStreams streams;
  if (streams.tid == 0) streams.tid = static_cast<int>(::syscall(SYS_gettid));
  return streams.tid;
}

}  // namespace

std::vector<std::unique_ptr<Device>>& devices() {
  static auto& all = *new std::vector<std::unique_ptr<Device>>;
  return all;
}

Device* device_of(CUdevice ordinal) {
  return ordinal >= 0 && static_cast<std::size_t>(ordinal) < devices().size()
             ? devices()[static_cast<std::size_t>(ordinal)].get()
             : nullptr;
}

Context::Context(Device& device, bool primary)
    : limits(device), device_(device), primary_(primary), id_(next_id()), life_(std::make_shared<Life>()) {}

CUresult Context::activate(unsigned with_flags) {
  if (!charge_native(device_, settings().context_bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::scoped_lock lock(mutex_);
  life_ = std::make_shared<Life>();
  flags = with_flags;
  active_ = true;
  return CUDA_SUCCESS;
}

bool Context::active() const {
  const std::scoped_lock lock(mutex_);
  return active_;
}

std::shared_ptr<Life> Context::life() const {
  const std::scoped_lock lock(mutex_);
  return life_;
}

CUresult Context::error() const {
  const std::scoped_lock lock(mutex_);
  return active_ ? life_->sticky() : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

void Context::stop_work() {
  const auto all = streams();
  const std::uint64_t drained_by = now_ns() + drain_ns;
  for (const auto& stream : all) stream->wait_until(stream->submitted(), drained_by);
  life()->stop = true;
  {
    const std::scoped_lock lock(mutex_);
    if (marker_) marker_->wake();
  }
  const std::uint64_t stopped_by = now_ns() + stop_ns;
  for (const auto& stream : all) {
    stream->wake();
    stream->wait_until(stream->submitted(), stopped_by);
    stream->close();
  }
}

void Context::tell_leaks() const {
  if (!reporting()) return;
  const auto all = registry<Context>().all();
  const bool last =
      std::ranges::none_of(all, [&](const auto& other) { return other.get() != this && other->active(); });
  const std::scoped_lock lock(space().mutex);
  report_leaks(*this, last);
}

void Context::deactivate() {
  {
    const std::scoped_lock lock(mutex_);
    if (!active_) return;
    active_ = false;
  }
  stop_work();
  tell_leaks();
  drop_events_of(*this);
  drop_captures_of(*this);
  drop_graphs_of(*this);
  unload_modules_of(*this);
  drop_textures_of(*this);
  drop_arrays_of(*this);
  free_memory_of(*this);
  const std::scoped_lock lock(mutex_);
  for (const auto& stream : created_) registry<Stream>().remove(stream.get());
  created_.clear();
  of_threads_.clear();
  legacy_.reset();
  if (marker_) marker_->close();
  marker_.reset();
  awaited_.clear();
  limits.reset();
  device_.card->refund(settings().context_bytes);
}

// Of a context that is destroyed meanwhile: closed, so that it refuses work, and kept nowhere.
std::shared_ptr<Stream> Context::new_stream(Stream::Kind kind, int priority) {
  auto made = std::make_shared<Stream>(shared_from_this(), life_, kind, priority);
  if (!active_) made->close();
  return made;
}

std::shared_ptr<Stream> Context::legacy_stream() {
  const std::scoped_lock lock(mutex_);
  if (legacy_) return legacy_;
  auto made = new_stream(Stream::Kind::legacy, 0);
  if (active_) legacy_ = made;
  return made;
}

std::shared_ptr<Stream> Context::thread_stream() {
  const int tid = end_streams_with_this_thread();
  const std::scoped_lock lock(mutex_);
  if (const auto found = of_threads_.find(tid); found != of_threads_.end()) return found->second;
  auto made = new_stream(Stream::Kind::per_thread, 0);
  if (active_) of_threads_.emplace(tid, made);
  return made;
}

void Context::end_thread_stream(int tid) {
  std::shared_ptr<Stream> stream;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = of_threads_.find(tid);
    if (found == of_threads_.end()) return;
    stream = std::move(found->second);
    of_threads_.erase(found);
    std::erase_if(created_, [](const auto& s) { return !registry<Stream>().find(s.get()) && s->idle(); });
    if (!stream->idle()) created_.push_back(stream);  // it still counts, as a destroyed stream does
  }
  leave_captures(stream);
  stream->close();
}

std::shared_ptr<Stream> Context::default_stream() {
  return PerThreadDefault::active() ? thread_stream() : legacy_stream();
}

std::shared_ptr<Stream> Context::create_stream(Stream::Kind kind, int priority) {
  const std::scoped_lock lock(mutex_);
  auto made = new_stream(kind, priority);
  if (!active_) return made;
  registry<Stream>().add(made);
  std::erase_if(awaited_, [](const auto& event) { return event->over(); });
  for (const auto& event : awaited_) (void)made->push(event, {});
  std::erase_if(created_, [](const auto& s) { return !registry<Stream>().find(s.get()) && s->idle(); });
  created_.push_back(made);
  return made;
}

void Context::forget(const std::shared_ptr<Stream>& stream) {
  // A closed stream with work left still counts for the legacy stream's order and for Synchronize.
  const std::scoped_lock lock(mutex_);
  std::erase_if(created_, [&](const auto& s) { return s == stream && s->idle(); });
}

std::vector<std::shared_ptr<Stream>> Context::streams() const {
  const std::scoped_lock lock(mutex_);
  auto all = created_;
  if (legacy_) all.push_back(legacy_);
  for (const auto& [tid, stream] : of_threads_) all.push_back(stream);
  return all;
}

CUresult Context::synchronize() {
  for (const auto& stream : streams()) {
    stream->wait_until(stream->submitted());
    if (!registry<Stream>().find(stream.get())) forget(stream);  // destroyed while it still had work
  }
  trim_pools_at_synchronisation();
  return error();
}

CUresult Context::record(const EventPtr& event) {
  std::vector<Ticket> behind;
  for (const auto& stream : streams()) behind.push_back({stream, stream->submitted()});
  std::shared_ptr<Stream> marker;
  {
    const std::scoped_lock lock(mutex_);
    if (!active_) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (!marker_) marker_ = new_stream(Stream::Kind::non_blocking, 0);
    marker = marker_;
  }
  marker->wait_for_room();
  const std::scoped_lock lock(event->mutex);
  auto mark = new_mark(*event, life());
  (void)marker->push(std::make_shared<RecordOperation>(event, mark), std::move(behind));
  event->mark = std::move(mark);
  event->captured_in.reset();
  return CUDA_SUCCESS;
}

CUresult Context::await(std::shared_ptr<const AwaitOperation> event) {
  (void)legacy_stream();  // it is there from now on, if it was not
  for (const auto& stream : streams()) {
    stream->wait_for_room();
    (void)stream->push(event, {});
  }
  const std::scoped_lock lock(mutex_);
  awaited_.push_back(std::move(event));
  return CUDA_SUCCESS;
}

}  // namespace lull::sim

#include "tests/driver/stream/event.h"

#include <algorithm>
#include <chrono>

#include "tests/driver/card/clock.h"
#include "tests/driver/context/context.h"
#include "tests/driver/registry.h"

namespace lull::sim {

void Mark::reach(std::uint64_t time_ns) {
  {
    const std::scoped_lock lock(mutex_);
    time_ns_ = time_ns;
    reached_.notify_all();
  }
  if (shared_.card) shared_.card->reach_event(shared_.event, shared_.number);
}

std::uint64_t Mark::time_ns() const {
  const std::scoped_lock lock(mutex_);
  if (time_ns_ == 0 && of_others() && shared_.card->record_reached(shared_.event, shared_.number)) time_ns_ = now_ns();
  return time_ns_;
}

std::uint64_t Mark::wait(const Life& waiter) const {
  if (of_others()) {
    while (!reached() && !waiter.stop) shared_.card->wait_for_record(shared_.event, shared_.number);
    return time_ns();
  }
  std::unique_lock lock(mutex_);
  while (time_ns_ == 0 && !waiter.stop) reached_.wait_for(lock, std::chrono::milliseconds(50));
  return time_ns_;
}

Event::~Event() {
  if (shared && !imported) device->card->end_event(*shared);
}

std::shared_ptr<Mark> new_mark(const Event& event, std::shared_ptr<Life> life) {
  if (!event.shared) return std::make_shared<Mark>(std::move(life));
  Card& card = *event.device->card;
  return std::make_shared<Mark>(std::move(life), SharedRecord{&card, *event.shared, card.record_event(*event.shared)});
}

std::shared_ptr<Mark> latest_mark(Event& event) {
  if (!event.shared) return event.mark;
  Card& card = *event.device->card;
  const std::uint64_t latest = card.latest_record(*event.shared);
  const auto context = event.context.lock();
  if (latest == 0 || !context || (event.mark && event.mark->number() == latest)) return event.mark;
  event.mark = std::make_shared<Mark>(context->life(), SharedRecord{&card, *event.shared, latest, false});
  return event.mark;
}

RecordOperation::~RecordOperation() {
  if (mark_ && !mark_->reached()) mark_->reach(now_ns());
}

CUresult RecordOperation::run(Running& running) const {
  running.end_ns = running.ready_ns;  // takes no time of its own
  if (mark_) mark_->reach(running.ready_ns);
  return CUDA_SUCCESS;
}

void drop_events_of(const Context& context) {
  for (const auto& event : registry<Event>().all()) {
    if (event->context.lock().get() == &context) registry<Event>().remove(event.get());
  }
}

OperationPtr RecordOperation::for_launch() const {
  const auto context = event_->context.lock();
  if (!context) return nullptr;
  auto mark = new_mark(*event_, context->life());
  const std::scoped_lock lock(event_->mutex);
  event_->mark = mark;
  event_->captured_in.reset();
  return std::make_shared<RecordOperation>(event_, std::move(mark));
}

CUresult AwaitOperation::run(Running& running) const {
  running.end_ns = running.ready_ns;
  if (mark_) running.end_ns = std::max(running.ready_ns, mark_->wait(running.life));
  return CUDA_SUCCESS;
}

OperationPtr AwaitOperation::for_launch() const {
  const std::scoped_lock lock(event_->mutex);
  return std::make_shared<AwaitOperation>(event_, latest_mark(*event_));
}

}  // namespace lull::sim

// Events. Every record makes a new mark; waits, queries and times refer to the mark that was the newest when they were
// called, so recording an event again does not move what already waits for it.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "tests/driver/card/card.h"
#include "tests/driver/graph/capture.h"
#include "tests/driver/stream/operation.h"

namespace lull::sim {

// A record of an event that several processes use.
struct SharedRecord {
  Card* card = nullptr;  // null: the mark is of an event of this process
  EventId event{};
  std::uint64_t number = 0;
  bool ours = true;  // this process is to reach it
};

class Mark {
 public:
  explicit Mark(std::shared_ptr<Life> life, const SharedRecord& shared = {})
      : life_(std::move(life)), shared_(shared) {}
  void reach(std::uint64_t time_ns);
  bool reached() const { return time_ns() != 0; }
  std::uint64_t time_ns() const;
  // The modelled time of the record; 0 if `waiter` stops first.
  std::uint64_t wait(const Life& waiter) const;
  const Life& life() const { return *life_; }
  std::uint64_t number() const { return shared_.number; }

 private:
  bool of_others() const { return shared_.card && !shared_.ours; }

  const std::shared_ptr<Life> life_;
  const SharedRecord shared_;
  mutable std::mutex mutex_;
  mutable std::condition_variable reached_;
  mutable std::uint64_t time_ns_ = 0;
};

struct Event {
  Event() = default;
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  unsigned flags = 0;
  std::weak_ptr<Context> context;
  Device* device = nullptr;
  std::optional<EventId> shared;  // with other processes
  bool imported = false;
  std::mutex mutex;  // guards what follows
  std::shared_ptr<Mark> mark;
  std::shared_ptr<Capture> captured_in;  // the last record was in this capture,
  Dependencies captured_at;              // behind these nodes
};
using EventPtr = std::shared_ptr<Event>;
std::shared_ptr<Mark> new_mark(const Event& event, std::shared_ptr<Life> life);  // for a record of it
std::shared_ptr<Mark> latest_mark(Event& event);  // locked. Another process may have made it; null: never recorded
void drop_events_of(const Context& context);      // it is being destroyed

// As a node of a graph: each launch makes a mark of its own, which later waits refer to.
class RecordOperation : public Operation {
 public:
  RecordOperation(EventPtr event, std::shared_ptr<Mark> mark) : event_(std::move(event)), mark_(std::move(mark)) {}
  ~RecordOperation() override;  // who waits for a mark that was never come to waits no longer
  RecordOperation(const RecordOperation&) = delete;
  RecordOperation& operator=(const RecordOperation&) = delete;
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_EVENT_RECORD; }
  After after() const override { return After::error_too; }
  CUresult run(Running&) const override;
  OperationPtr for_launch() const override;
  const EventPtr& event() const { return event_; }

 private:
  EventPtr event_;
  std::shared_ptr<Mark> mark_;  // null in a graph's node
};

// As a node of a graph: waits for the mark that is the event's newest at each launch.
class AwaitOperation : public Operation {
 public:
  AwaitOperation(EventPtr event, std::shared_ptr<Mark> mark) : event_(std::move(event)), mark_(std::move(mark)) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_WAIT_EVENT; }
  CUresult run(Running&) const override;
  OperationPtr for_launch() const override;
  const EventPtr& event() const { return event_; }
  bool over() const { return !mark_ || mark_->reached(); }

 private:
  EventPtr event_;
  std::shared_ptr<Mark> mark_;  // null: nothing to wait for
};

}  // namespace lull::sim

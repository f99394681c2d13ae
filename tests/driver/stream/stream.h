// A stream: a queue of work and, from its first work on, a thread that does it in order.
//
// Order between streams is kept by tickets: work on the legacy stream depends on everything submitted so far to the
// context's blocking streams, work on a blocking stream on everything submitted so far to the legacy stream; work on a
// non-blocking stream on nothing. No more is ordered than that, so a program that relies on more fails here.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/driver/stream/operation.h"

namespace lull::sim {

struct Capture;
class Stream;

struct Ticket {
  std::shared_ptr<Stream> stream;
  std::uint64_t number;
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  enum class Kind { legacy, per_thread, blocking, non_blocking };

  Stream(const std::shared_ptr<Context>& context, std::shared_ptr<Life> life, Kind kind, int priority);

  Kind kind() const { return kind_; }
  int priority() const { return priority_; }
  std::uint32_t number() const { return number_; }
  std::shared_ptr<Context> context() const { return context_.lock(); }
  Life& life() const { return *life_; }

  void wait_for_room();  // a full queue makes its caller wait, as a GPU's does
  // A ticket without a stream: it has been closed meanwhile, and nobody would do the work.
  Ticket push(OperationPtr work, std::vector<Ticket> dependencies);
  std::uint64_t submitted() const;
  bool idle() const;
  bool wait_until(std::uint64_t number, std::uint64_t limit_ns = UINT64_MAX) const;  // false: not within the limit
  void close();  // the thread ends when its queue is empty
  void wake();   // life().stop has been set

  using Attributes = std::map<CUstreamAttrID, CUstreamAttrValue>;
  Attributes attributes() const;  // that were set
  CUstreamAttrValue attribute(CUstreamAttrID id) const;
  void set_attribute(CUstreamAttrID id, const CUstreamAttrValue& value);

  std::shared_ptr<Capture> capture;  // guarded by graph_mutex(), see capture.h

 private:
  struct Entry {
    OperationPtr work;
    std::vector<Ticket> dependencies;
    std::uint64_t submitted_ns;
  };
  void start();
  void serve();
  void perform(Entry& entry);
  std::uint64_t await(const std::vector<Ticket>& dependencies);

  const std::weak_ptr<Context> context_;
  const std::shared_ptr<Life> life_;
  Device& device_;
  const Kind kind_;
  const int priority_;
  const std::uint32_t number_;
  mutable std::mutex mutex_;
  mutable std::condition_variable arrived_, finished_;
  std::deque<Entry> queue_;
  std::uint64_t submitted_ = 0, completed_ = 0;
  std::atomic<std::uint64_t> modelled_end_ns_{0};
  Attributes attributes_;
  bool has_thread_ = false, closed_ = false;
};

// Queues work on a stream in the order its kind demands, behind `also` too, or adds it to the capture the stream is in.
// `placed`, if given, receives its place in the queue.
CUresult submit(Stream& stream, OperationPtr work, std::vector<Ticket> also = {}, Ticket* placed = nullptr);
CUresult submit(Stream& stream, CUgraphNodeType type, Work work, After after = After::error_is_skipped);
// Waits for everything submitted so far; the sticky error if there is one.
CUresult synchronize(Stream& stream);
bool has_pending(Stream& stream);

// Sleeps until a time of CLOCK_MONOTONIC, or until the context stops.
void sleep_until(std::uint64_t time_ns, const Life& life);

}  // namespace lull::sim

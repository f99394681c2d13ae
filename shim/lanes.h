// shim/lanes.h: the streams that threads submit to while work in flight is bounded: their backlogs, and the events that
// mark them. Behind one lock that nobody waits for long: who does not get it does without.
#pragma once
#include <atomic>
#include <cstdint>

#include "shim/backlog.h"
#include "shim/gate.h"
#include "shim/real.h"
#include "shim/signals.h"

namespace lull::flight {

// Holds the lock, if it is free or soon will be. Its holder may be waiting for a processor; who must not go on without
// a look waits for that a while, `patiently`.
class Tried {
 public:
  enum Patience { briefly, patiently };
  explicit Tried(Patience patience = briefly);
  ~Tried();
  Tried(const Tried&) = delete;
  Tried& operator=(const Tried&) = delete;
  explicit operator bool() const { return held_; }

 private:
  SignalsBlocked signals_;
  bool held_ = false;
};

// What tells streams apart. Default streams are one for each context, or one for each thread and context.
struct Where {
  CUstream stream = nullptr;            // null: a default one
  const gate::Entry* thread = nullptr;  // of a thread's own default stream
  CUcontext context = nullptr;          // of default streams; others have names of their own
  bool operator==(const Where&) const = default;
};
Where where(CUstream stream, const gate::Entry& mine);
CUcontext context_of(const Where&);  // null: it has none, so it is no stream

struct Marker {
  enum State : int { unused, taken, placed };
  CUevent event = nullptr;
  Backlog::Marker at{};
  std::atomic<int> state{unused};  // taken: its thread is in the driver with it, and says `placed` without the lock
};

struct Lane {
  CUcontext context = nullptr;  // null: none
  unsigned slot = 0;
  Backlog backlog;
  Marker markers[16];
  const gate::Entry* visitor = nullptr;
  unsigned visitors = 0;  // how often the visitor has changed of late
  std::uint64_t used_ns = 0;
  std::uint32_t serial = 0;     // another one each time it begins
  std::uint32_t tightened = 0;  // how often the limit had become tighter when its backlog began

  void begin(std::uint64_t limit_ns, std::uint64_t now_ns);  // what is queued is not known
  void poll();                                               // asks the driver which markers have been passed
  bool any_waiting() const;
  Marker* take_marker();  // with an event; null: none to be had
};

Lane* find(const Tried&, const Where&);
// Replaces the one that was used longest ago. Null: all are in use.
Lane* make(const Tried&, const Where&, CUcontext context, unsigned slot, std::uint64_t now_ns);
void drop(const Tried&, Lane&);  // its events too
void drop_context(const Tried&, CUcontext);

}  // namespace lull::flight

// broker/arenas.h: host memory for what is evicted, made ahead of need.
//
// A thread of ordinary priority makes one piece at a time; a process of its own touches every page of it, so that being
// out of memory ends that process and not the broker, and the memory is charged to the broker's service, not to a
// container. The descriptor then goes to the client and the broker keeps none: the memory is freed with the client.
#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "broker/policy.h"
#include "protocol/fd.h"

namespace lull {

struct Backed {
  policy::ClientId id = 0;
  unsigned uid = 0;
  policy::Bytes needed = 0;   // what the program has allocated
  policy::Bytes backing = 0;  // what it has been given
  policy::Bytes deficit = 0;  // what does not fit on the card when everybody is there
  policy::Bytes chunk = 0;    // unit of eviction; a chunk does not cross two pieces
  bool starved = false;       // it could not evict for want of backing
};
struct Growth {
  policy::ClientId id;
  policy::Bytes bytes;
};
struct ArenaLimits {
  policy::Bytes budget, per_uid;
};
// Who gets the next piece, and how large. First comes what somebody could not do without, then everybody's whole needs;
// a client alone leaves half the budget to those to come, because an arena is never taken back.
std::optional<Growth> next_growth(std::span<const Backed>, const ArenaLimits&);

class ArenaMaker {
 public:
  struct Made {
    policy::ClientId id;
    Fd fd;  // none: it could not be made
    policy::Bytes bytes;
  };
  ArenaMaker();
  ~ArenaMaker();  // ends a touching process, too
  bool busy() const;
  void make(Growth);
  int fd() const { return finished_.get(); }
  std::optional<Made> take();
  void dispose(Fd);  // closes off the event thread: freeing gigabytes takes its time

 private:
  void run();
  Made produce(Growth);
  bool touch(int fd, policy::Bytes);
  Fd finished_;
  mutable std::mutex mutex_;
  std::condition_variable wanted_;
  std::optional<Growth> order_;
  std::optional<Made> made_;
  std::deque<Fd> disposed_;
  bool busy_ = false, stop_ = false;
  pid_t child_ = 0;
  std::thread thread_;
};

// What the touching process runs (lulld --touch-arena): 0, or an exit status.
int touch_arena(int fd, policy::Bytes);

}  // namespace lull

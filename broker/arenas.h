// broker/arenas.h: host memory for what is evicted, made ahead of need.
//
// A thread of ordinary priority makes one piece at a time; a process of its own touches every page of it, so that being
// out of memory ends that process and not the broker, and the memory is charged to the broker's service, not to a
// container.
#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "broker/policy.h"
#include "protocol/fd.h"

namespace lull {

// How one is made.
struct ArenaOrder {
  policy::ClientId id = 0;
  policy::Bytes bytes = 0;
  std::optional<unsigned> node;  // of the machine's memory: that which is near the card
  bool reserved_pages = false;   // huge pages that the administrator has set aside, while there are any
};

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
  void make(const ArenaOrder&);
  int fd() const { return finished_.get(); }
  std::optional<Made> take();

 private:
  void run();
  Made produce(const ArenaOrder&);
  bool touch(int fd, const ArenaOrder&);
  Fd finished_;
  mutable std::mutex mutex_;
  std::condition_variable wanted_;
  std::optional<ArenaOrder> order_;
  std::optional<Made> made_;
  bool busy_ = false, stop_ = false;
  pid_t child_ = 0;
  std::thread thread_;
};

// What the touching process runs (lulld --touch-arena): 0, or an exit status.
int touch_arena(int fd, policy::Bytes, std::optional<unsigned> node);

}  // namespace lull

#include "broker/scheduling.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

namespace lull {

std::string raise_priority() {
  sched_param low{};
  low.sched_priority = 1;  // above every ordinary process, below everything the machine's owner made real-time
  if (::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &low) == 0) return "real-time";
  low.sched_priority = 0;  // ordinary, but children and threads begin with nice 0 all the same
  (void)::sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &low);
  if (::setpriority(PRIO_PROCESS, 0, -20) == 0) return "nice -20";
  return "ordinary (needs CAP_SYS_NICE for more)";
}

// Not MCL_FUTURE alone, which would fill in every page of a thread's stack and of an arena that is mapped for a moment.
bool lock_memory() { return ::mlockall(MCL_CURRENT | MCL_ONFAULT) == 0; }

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);  // with fewer, fewer clients; they are told so
}

}  // namespace lull

// broker/touch.cpp: the process that touches every page of an arena, so that nobody waits for page faults later.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "broker/arenas.h"
#include "protocol/memory.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace lull {
namespace {

constexpr std::size_t step = 64u << 20;

// If the machine runs out of memory, this process is the one to end: nothing is lost with it.
void be_the_first_to_go() {
  const Fd file(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  (void)!::write(file.get(), "1000", 4);  // only a hint; raising it is always allowed
}

bool populate(volatile char* at, std::size_t bytes) {
  if (::madvise(const_cast<char*>(at), bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  for (std::size_t i = 0; i < bytes; i += 4096) at[i] = 0;
  return true;
}

}  // namespace

int touch_arena(int fd, policy::Bytes bytes) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // without the broker nobody wants the memory
  be_the_first_to_go();
  if (!check_shared_memory(fd, bytes)) return 2;
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return 3;
  (void)::madvise(base, bytes, MADV_HUGEPAGE);  // where the machine has them for shared memory
  for (std::size_t done = 0; done < bytes; done += step)
    if (!populate(static_cast<char*>(base) + done, std::min<std::size_t>(step, bytes - done))) return 4;
  return 0;
}

}  // namespace lull

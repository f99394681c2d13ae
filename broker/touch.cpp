// broker/touch.cpp: the process that touches every page of an arena, so that nobody waits for page faults later.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <thread>
#include <vector>

#include "broker/arenas.h"
#include "protocol/memory.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace lull {
namespace {

constexpr std::size_t step = 32u << 20;
constexpr unsigned touching_threads = 4;  // a kernel clears pages at the speed of memory with fewer than that

// If the machine runs out of memory, this process is the one to end: nothing is lost with it.
void be_the_first_to_go() {
  const Fd file(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  (void)!::write(file.get(), "1000", 4);  // only a hint; raising it is always allowed
}

// Whatever has to be written out to make room must not be in anybody's way.
void yield_the_disk() {
  constexpr int this_process = 1, idle_class = 3 << 13;
  (void)::syscall(SYS_ioprio_set, this_process, 0, idle_class);  // a hint
}

// Memory near the card, where there is some; else anywhere.
void prefer(unsigned node) {
  constexpr int preferred = 1;
  constexpr unsigned long bits = sizeof(unsigned long) * CHAR_BIT;
  unsigned long mask[16] = {};
  if (node / bits >= std::size(mask)) return;
  mask[node / bits] = 1ul << node % bits;
  (void)::syscall(SYS_set_mempolicy, preferred, mask, std::size(mask) * bits + 1);  // a hint; threads take it over
}

bool populate(volatile char* at, std::size_t bytes) {
  if (::madvise(const_cast<char*>(at), bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  for (std::size_t i = 0; i < bytes; i += 4096) at[i] = 0;
  return true;
}

bool populate_together(char* base, std::size_t bytes) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (std::size_t at; !failed && (at = next.fetch_add(step)) < bytes;)
      if (!populate(base + at, std::min(step, bytes - at))) failed = true;
  };
  const auto cpus = std::max(1u, std::thread::hardware_concurrency());
  const auto threads = std::min<std::size_t>({cpus, touching_threads, (bytes + step - 1) / step});
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
  return !failed;
}

}  // namespace

int touch_arena(int fd, policy::Bytes bytes, std::optional<unsigned> node) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // without the broker nobody wants the memory
  be_the_first_to_go();
  yield_the_disk();
  if (node) prefer(*node);
  if (!check_shared_memory(fd, bytes)) return 2;
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return 3;
  (void)::madvise(base, bytes, MADV_HUGEPAGE);  // where the machine has them for shared memory
  return populate_together(static_cast<char*>(base), bytes) ? 0 : 4;
}

}  // namespace lull

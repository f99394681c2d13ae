#include "broker/spill_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "protocol/fd.h"
#include "protocol/memory.h"

namespace lull {
namespace {

constexpr unsigned most_threads = 4;  // that many requests keep a disk busy

struct Unmap {
  std::uint64_t bytes;
  void operator()(std::byte* base) const { (void)::munmap(base, bytes); }
};
using Memory = std::unique_ptr<std::byte, Unmap>;

Memory map(int fd, std::uint64_t bytes, int protection, int flags) {
  void* base = ::mmap(nullptr, bytes, protection, flags, fd, 0);
  return Memory(base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base), Unmap{bytes});
}

int say(const std::string& sentence) {
  (void)!::write(spill_answer, sentence.data(), sentence.size());  // nobody listening is the broker's end
  return 1;
}

// Without the broker nobody wants it; and when memory runs out, nothing is lost with this process.
void be_a_helper(bool in_a_hurry) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  (void)!::write(score.get(), "1000", 4);
  constexpr int this_process = 1, idle_class = 3 << 13;
  if (!in_a_hurry) (void)::syscall(SYS_ioprio_set, this_process, 0, idle_class);  // a hint
}

// 0, an error number, or EIO where the file ends.
template <class Call>
int whole(Call call, std::size_t bytes) {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t got = call(done, bytes - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;
    done += static_cast<std::size_t>(got);
  }
  return 0;
}

int read_block(std::byte* to, std::uint64_t at) {
  return whole([&](std::size_t done,
                   std::size_t left) { return ::pread(spill_file, to + done, left, static_cast<off_t>(at + done)); },
               sum_block);
}

int write_block(const std::byte* from, std::uint64_t at) {
  return whole([&](std::size_t done,
                   std::size_t left) { return ::pwrite(spill_file, from + done, left, static_cast<off_t>(at + done)); },
               sum_block);
}

// All blocks, by a few threads that have a buffer each. The first error number, or 0.
template <class Work>
int for_each_block(std::uint64_t bytes, Work work) {
  std::atomic<std::uint64_t> next{0};
  std::atomic<int> error{0};
  const auto run = [&] {
    const Memory buffer = map(-1, sum_block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!buffer) error = ENOMEM;
    for (std::uint64_t at; !error && (at = next.fetch_add(sum_block)) < bytes;)
      if (const int failed = work(at, buffer.get())) error = failed;
  };
  std::vector<std::thread> others;
  const auto blocks = bytes / sum_block;
  for (std::uint64_t i = 1; i < std::min<std::uint64_t>(most_threads, blocks); ++i) others.emplace_back(run);
  run();
  for (auto& thread : others) thread.join();
  return error;
}

std::string why(const char* what, int error) { return fmt::format("{}: {}", what, std::strerror(error)); }

class Saving {
 public:
  Saving(const SaveOrder& order, const std::byte* memory)
      : order_(order), memory_(memory), written_here_(order.bytes / sum_block) {}

  // Nothing is taken for written before the file says the same when it is read again.
  std::string run() {
    if (const int e = for_each_block(order_.bytes, [&](auto at, auto* buffer) { return save(at, buffer); }))
      return e == EDQUOT ? "more would be written than spill_daily_write_bytes allows" : why("write", e);
    if (::fdatasync(spill_file) != 0) return why("fdatasync", errno);
    (void)::posix_fadvise(spill_file, 0, 0, POSIX_FADV_DONTNEED);  // without O_DIRECT: read from the disk, too
    if (const int e = for_each_block(order_.bytes, [&](auto at, auto* buffer) { return prove(at, buffer); }))
      return why("reading it again", e);
    return {};
  }
  const Saved& saved() const { return saved_; }

 private:
  int save(std::uint64_t at, std::byte* buffer) {
    const auto* block = memory_ + at;
    const Sum sum = sum_of_block(block, at / sum_block);
    if (order_.known && read_block(buffer, at) == 0 && std::memcmp(buffer, block, sum_block) == 0)
      return note(sum, 0, 0);
    if (const int over = note(sum, sum_block, order_.known ? sum_block : 0)) return over;
    written_here_[at / sum_block] = 1;
    return write_block(block, at);
  }
  int note(const Sum& sum, std::uint64_t written, std::uint64_t rewritten) {
    const std::lock_guard guard(mutex_);
    saved_.sum += sum;
    saved_.written += written;
    saved_.rewritten += rewritten;
    return saved_.rewritten > order_.most_rewritten ? EDQUOT : 0;
  }
  int prove(std::uint64_t at, std::byte* buffer) const {
    if (!written_here_[at / sum_block]) return 0;
    if (const int e = read_block(buffer, at)) return e;
    return std::memcmp(buffer, memory_ + at, sum_block) == 0 ? 0 : EILSEQ;
  }

  const SaveOrder order_;
  const std::byte* memory_;
  std::mutex mutex_;
  Saved saved_;
  std::vector<char> written_here_;
};

}  // namespace

std::string show(const Saved& s) {
  return fmt::format("{:x} {:x} {} {}", s.sum.low, s.sum.high, s.written, s.rewritten);
}

std::optional<Saved> parse_saved(const std::string& text) {
  unsigned long long low = 0, high = 0, written = 0, rewritten = 0;
  int end = 0;
  if (std::sscanf(text.c_str(), "%llx %llx %llu %llu%n", &low, &high, &written, &rewritten, &end) != 4 ||
      static_cast<std::size_t>(end) != text.size())
    return std::nullopt;
  return Saved{{low, high}, written, rewritten};
}

int spill_save(const SaveOrder& order) {
  be_a_helper(false);
  if (!check_shared_memory(spill_memory, order.bytes) || order.bytes % sum_block) return say("this is no arena");
  const Memory memory = map(spill_memory, order.bytes, PROT_READ, MAP_SHARED);
  if (!memory) return say(why("mmap", errno));
  Saving saving(order, memory.get());
  if (const auto problem = saving.run(); !problem.empty()) return say(problem);
  (void)say(show(saving.saved()));
  return 0;
}

int spill_fill(std::uint64_t bytes, const Sum& expected) {
  be_a_helper(true);
  if (!check_shared_memory(spill_memory, bytes) || bytes % sum_block) return say("this is no arena");
  const Memory memory = map(spill_memory, bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (!memory) return say(why("mmap", errno));
  std::mutex mutex;
  Sum sum;
  const int error = for_each_block(bytes, [&](std::uint64_t at, std::byte*) {
    if (const int e = read_block(memory.get() + at, at)) return e;
    const Sum part = sum_of_block(memory.get() + at, at / sum_block);
    const std::lock_guard guard(mutex);
    sum += part;
    return 0;
  });
  if (error) return say(why("read", error));
  return sum == expected ? 0 : say("what is read is not what was written");
}

}  // namespace lull

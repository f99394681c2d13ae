// Marks come from processes that have no driver, one at a time: no mapping of theirs stays.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/driver/journal/journal_file.h"

namespace lull::sim {
namespace {

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

Record record_of(std::string_view text, std::int32_t number) {
  Record record{};
  char padded[16] = {};
  std::memcpy(padded, text.data(), text.size());
  std::memcpy(&record.address, padded, 8);
  std::memcpy(&record.bytes, padded + 8, 8);
  record.start_ns = record.end_ns = record.written_ns = monotonic_ns();
  record.pid = static_cast<std::uint32_t>(::getpid());
  record.tid = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  record.kind = Kind::mark;
  record.function = 0xffff;
  record.result = number;
  return record;
}

// Where the next mark goes; the file is locked.
off_t next_place(JournalHead& head) {
  if (head.marks_block == 0 || head.marks == journal_block_records) {
    head.marks_block = head.blocks.fetch_add(1, std::memory_order_relaxed) + 1;
    head.marks = 0;
  }
  return static_cast<off_t>(journal_head_bytes + (head.marks_block - 1) * journal_block_bytes +
                            head.marks++ * sizeof(Record));
}

bool write_record(int fd, const Record& record) {
  if (::posix_fallocate(fd, 0, journal_head_bytes) != 0) return false;  // does not shrink what is longer
  void* at = ::mmap(nullptr, journal_head_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return false;
  auto& head = *static_cast<JournalHead*>(at);
  head.magic.store(journal_magic, std::memory_order_relaxed);
  const bool written = ::pwrite(fd, &record, sizeof record, next_place(head)) == sizeof record;
  (void)::munmap(at, journal_head_bytes);
  return written;
}

}  // namespace

bool mark_journal(const std::string& path, std::string_view text, std::int32_t number) {
  if (text.empty() || text.size() > 16) {
    errno = EINVAL;
    return false;
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return false;
  while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) {
  }
  const bool written = write_record(fd, record_of(text, number));
  const int error = errno;
  (void)::close(fd);  // and with it the lock
  errno = error;
  return written;
}

}  // namespace lull::sim

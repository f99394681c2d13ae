#include "tests/driver/journal/journal_write.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <new>

#include "tests/driver/card/settings.h"
#include "tests/driver/journal/journal_file.h"

namespace lull::sim {
namespace {

// No descriptor is kept: a program may close all of its own, and then ours.
void* map_part(std::size_t offset, std::size_t bytes) {
  const int fd = ::open(settings().journal.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return nullptr;
  // Unlike ftruncate it never shrinks a file that another process has just made longer.
  const bool there = ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0;
  void* at =
      there ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset)) : MAP_FAILED;
  (void)::close(fd);
  return at == MAP_FAILED ? nullptr : at;
}

// Every process writes the same.
void introduce(JournalHead& head) {
  std::strncpy(head.card, settings().card.name.c_str(), sizeof head.card - 1);
  head.time_scale.store(std::bit_cast<std::uint64_t>(settings().card.time_scale), std::memory_order_relaxed);
  head.magic.store(journal_magic, std::memory_order_relaxed);
}

JournalHead* head() {
  static JournalHead* const mapped = [] {
    auto* at = settings().journal.empty() ? nullptr : static_cast<JournalHead*>(map_part(0, journal_head_bytes));
    if (at) introduce(*at);
    return at;
  }();
  return mapped;
}

struct Cursor {
  Record* next;
  std::size_t left;
  std::uint32_t tid;
};
thread_local constinit Cursor cursor{};

bool next_block() {
  const std::uint64_t block = head()->blocks.fetch_add(1, std::memory_order_relaxed);
  cursor.next = static_cast<Record*>(map_part(journal_head_bytes + block * journal_block_bytes, journal_block_bytes));
  cursor.left = cursor.next ? journal_block_records : 0;
  return cursor.next != nullptr;
}

}  // namespace

bool journal_on() { return head() != nullptr; }

void journal_write(Record record) {
  if (!journal_on() || (cursor.left == 0 && !next_block())) return;
  if (cursor.tid == 0) cursor.tid = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  static const auto pid = static_cast<std::uint32_t>(::getpid());
  record.pid = pid;
  record.tid = cursor.tid;
  record.written_ns = now_ns();
  const Kind kind = record.kind;
  record.kind = Kind::none;
  *cursor.next = record;
  // The kind is written last: a reader in another process takes a record with a kind as whole.
  std::atomic_ref(cursor.next->kind).store(kind, std::memory_order_release);
  ++cursor.next;
  --cursor.left;
}

}  // namespace lull::sim

// The layout of the journal's file, shared by its writer and its reader.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tests/driver/journal/journal.h"

namespace lull::sim {

inline constexpr std::uint64_t journal_magic = 0x324a4d49534c4c4cu;  // "LLLSIMJ2"
inline constexpr std::size_t journal_head_bytes = 4096;
inline constexpr std::size_t journal_block_bytes = 65536;
inline constexpr std::size_t journal_block_records = journal_block_bytes / sizeof(Record);

struct JournalHead {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint64_t> blocks;      // handed out so far
  std::atomic<std::uint64_t> time_scale;  // the bits of a double; 0: no driver has written yet
  // Under a lock on the file: the block for marks, from 1, and how many of its records are taken.
  std::uint64_t marks_block;
  std::uint64_t marks;
  char card[64];
};
static_assert(sizeof(JournalHead) <= journal_head_bytes);

}  // namespace lull::sim

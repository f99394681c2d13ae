// The layout of the journal's file, shared by its writer and its reader.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tests/driver/journal/journal.h"

namespace lull::sim {

inline constexpr std::uint64_t journal_magic = 0x314a4d49534c4c4cu;  // "LLLSIMJ1"
inline constexpr std::size_t journal_head_bytes = 4096;
inline constexpr std::size_t journal_block_bytes = 65536;
inline constexpr std::size_t journal_block_records = journal_block_bytes / sizeof(Record);

struct JournalHead {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint64_t> blocks;  // handed out so far
};

}  // namespace lull::sim

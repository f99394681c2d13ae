// broker/spill_copy.h: what the helper process does that copies an arena to its file, or back (lulld --spill-save,
// --spill-fill). Of ordinary priority, with a few threads; O_DIRECT where the file system has it. Killed at any moment
// it leaves the memory as it was (saving) or something that nobody will use (filling).
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "protocol/checksum.h"

namespace lull {

// Descriptors as the helper finds them: memory, file, and where it says how it went.
inline constexpr int spill_memory = 3, spill_file = 4, spill_answer = 5;

struct SaveOrder {
  std::uint64_t bytes = 0;
  bool known = false;                // the file has an earlier content of this arena: only what differs is written
  std::uint64_t most_rewritten = 0;  // of what it has, at most so much may be written anew
};
struct Saved {
  Sum sum;
  std::uint64_t written = 0, rewritten = 0;  // bytes
};
std::string show(const Saved&);
std::optional<Saved> parse_saved(const std::string& untrusted);

// Exit statuses; a sentence for people goes to spill_answer when it is not 0.
int spill_save(const SaveOrder&);
int spill_fill(std::uint64_t bytes, const Sum& expected);

}  // namespace lull

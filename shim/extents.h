// shim/extents.h: hands out ranges of a space by first fit and joins what comes back. Used for blocks inside shared
// chunks and for places in host memory. Not thread-safe; its owner's lock covers it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include "shim/vector.h"

namespace lull {

class Extents {
 public:
  constexpr Extents() = default;
  // Adds [at, at + bytes) to what is free. False when the host is out of memory.
  [[nodiscard]] bool add(std::uint64_t at, std::uint64_t bytes);
  std::optional<std::uint64_t> take(std::uint64_t bytes, std::uint64_t alignment);
  // Gives back a range that take() handed out. A host out of memory loses the range, never another one's.
  void give(std::uint64_t at, std::uint64_t bytes) { (void)add(at, bytes); }
  void release() { ranges_.release(); }
  std::uint64_t free_bytes() const { return free_bytes_; }

 private:
  struct Range {
    std::uint64_t at, bytes;
    bool operator==(const Range&) const = default;
  };
  Vector<Range> ranges_;  // sorted, never adjacent
  std::uint64_t free_bytes_ = 0;
};

}  // namespace lull

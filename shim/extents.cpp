#include "shim/extents.h"

namespace lull {

bool Extents::add(std::uint64_t at, std::uint64_t bytes) {
  std::size_t low = 0, high = ranges_.size();
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (ranges_[middle].at < at)
      low = middle + 1;
    else
      high = middle;
  }
  const bool joins_left = low > 0 && ranges_[low - 1].at + ranges_[low - 1].bytes == at;
  const bool joins_right = low < ranges_.size() && at + bytes == ranges_[low].at;
  if (joins_left && joins_right) {
    ranges_[low - 1].bytes += bytes + ranges_[low].bytes;
    ranges_.erase(low);
  } else if (joins_left) {
    ranges_[low - 1].bytes += bytes;
  } else if (joins_right) {
    ranges_[low].at = at;
    ranges_[low].bytes += bytes;
  } else if (!ranges_.insert(low, {at, bytes})) {
    return false;
  }
  free_bytes_ += bytes;
  return true;
}

std::optional<std::uint64_t> Extents::take(std::uint64_t bytes, std::uint64_t alignment) {
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const Range range = ranges_[i];
    const std::uint64_t at = (range.at + alignment - 1) / alignment * alignment;
    const std::uint64_t before = at - range.at;
    if (range.bytes < before + bytes) continue;
    const std::uint64_t after = range.bytes - before - bytes;
    if (before && after) {
      if (!ranges_.insert(i + 1, {at + bytes, after})) return std::nullopt;
      ranges_[i].bytes = before;
    } else if (before) {
      ranges_[i].bytes = before;
    } else if (after) {
      ranges_[i] = {at + bytes, after};
    } else {
      ranges_.erase(i);
    }
    free_bytes_ -= bytes;
    return at;
  }
  return std::nullopt;
}

}  // namespace lull

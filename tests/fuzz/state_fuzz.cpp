// Any bytes in the files the broker keeps for itself, and in what its helper says: parsed, bounded, or nothing.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "broker/oom.h"
#include "broker/speed.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto stored = lull::parse_stored(text)) {
    const auto again = lull::parse_stored(lull::show_speed(*stored));
    if (!again || lull::json_of(again->speed) != lull::json_of(stored->speed)) std::abort();
    const lull::policy::Bytes most = 1ull << 46;
    (void)lull::predict_move(stored->speed, most, most, stored->speed.knee);
  }
  for (const auto& [pid, score] : lull::parse_scores(text))
    if (pid <= 1 || score.base < -1000 || score.base > 1000 || score.written > score.base) std::abort();
  return 0;
}

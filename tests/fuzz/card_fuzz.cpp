// Any text gets an answer from the readers of card profiles and of requests for faults, and a refusal says why.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tests/driver/card/profile.h"
#include "tests/driver/faults/request.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  lull::sim::Profile card;
  std::string problem;
  if (lull::sim::parse_profile(text, "a.card", card, problem)) {
    if (card.memory_bytes == 0 || card.to_device == 0 || !(card.time_scale >= 1)) std::abort();
  } else if (!problem.starts_with("a.card:")) {
    std::abort();
  }
  std::vector<lull::sim::Request> requests;
  problem.clear();
  if (!lull::sim::parse_requests(text, requests, problem) && problem.empty()) std::abort();
  return 0;
}

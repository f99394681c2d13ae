// Any word a peer may leave in a shared page: it parses to a value that packs to the same word, or to nothing.
#include <cstdlib>
#include <cstring>

#include "protocol/words.h"

namespace {

void expect_gate(std::uint64_t word) {
  const auto gate = lull::parse_gate(word);
  if (gate && (lull::pack(*gate) != word || lull::name_of(gate->state) == nullptr)) std::abort();
}

void expect_phase(std::uint64_t word) {
  const auto phase = lull::parse_phase(word);
  if (!phase) return;
  if (lull::pack(*phase) != word || lull::name_of(phase->phase) == nullptr) std::abort();
  if (lull::name_of(phase->reason) == nullptr) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint64_t word = 0;
  if (size < sizeof word) return 0;
  std::memcpy(&word, data, sizeof word);
  expect_gate(word);
  expect_phase(word);
  if (lull::pack_limit(lull::parse_limit(word)) != word) std::abort();
  (void)lull::parse_class(data[0]);
  return 0;
}

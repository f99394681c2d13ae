#include "protocol/words.h"

#include <cstring>

#include "protocol/reason.h"

namespace lull {
namespace {

// The name behind an enumerator, or "?" for a number that has none.
template <class E, std::size_t n>
const char* name_in(const char* const (&names)[n], E value) {
  const auto index = static_cast<std::size_t>(value);
  return index < n ? names[index] : "?";
}

constexpr const char* class_names[] = {"training", "interactive", "inference"};
constexpr const char* gate_names[] = {"unmanaged", "closed", "open"};
constexpr const char* phase_names[] = {"running", "draining", "drained", "moving", "ready", "overdue"};
constexpr const char* overdue_names[] = {"none",       "thread-inside", "stream-busy",      "capture-open",
                                         "no-backing", "copy-failed",   "no-device-memory", "spill-lost"};

#define X(name, text) #name,
constexpr const char* reason_names[] = {LULL_REASONS(X)};
#undef X
#define X(name, text) text,
constexpr const char* reason_sentences[] = {LULL_REASONS(X)};
#undef X

}  // namespace

const char* name_of(Class c) { return name_in(class_names, c); }
const char* name_of(GateState s) { return name_in(gate_names, s); }
const char* name_of(Phase p) { return name_in(phase_names, p); }
const char* name_of(Overdue o) { return name_in(overdue_names, o); }
const char* name_of(Reason r) { return name_in(reason_names, r); }
const char* sentence_of(Reason r) { return name_in(reason_sentences, r); }

std::optional<Class> parse_class(const char* text) {
  if (!text) return std::nullopt;
  for (const Class c : all_classes)
    if (std::strcmp(text, name_of(c)) == 0) return c;
  return std::nullopt;
}

std::optional<Class> parse_class(std::uint8_t untrusted) {
  if (untrusted > static_cast<std::uint8_t>(Class::inference)) return std::nullopt;
  return static_cast<Class>(untrusted);
}

std::optional<GateWord> parse_gate(std::uint64_t untrusted) {
  const auto state = untrusted & 3;
  if (state > static_cast<std::uint64_t>(GateState::open)) return std::nullopt;
  return GateWord{untrusted >> 2, static_cast<GateState>(state)};
}

std::optional<PhaseWord> parse_phase(std::uint64_t untrusted) {
  const auto phase = untrusted >> 4 & 15, reason = untrusted & 15;
  if (phase > static_cast<std::uint64_t>(Phase::overdue)) return std::nullopt;
  if (reason > static_cast<std::uint64_t>(Overdue::spill_lost)) return std::nullopt;
  return PhaseWord{untrusted >> 8, static_cast<Phase>(phase), static_cast<Overdue>(reason)};
}

}  // namespace lull

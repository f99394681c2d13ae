// protocol/words.h: the words both sides use, and how each is packed into one 64-bit word of a page.
//
// A gate word is {generation : 62, state : 2}. The broker raises the generation with every change of state, so that
// an answer to an old word is told from an answer to the present one. A page of zeroes reads "unmanaged, generation 0".
//
//   gate, written by the broker              phase, written by the shim for the generation it has seen
//
//   unmanaged ──▶ closed ◀──▶ open           running ──gate closed──▶ draining ──▶ drained ◀──▶ moving
//       ▲            │          │               ▲                        │            │            │
//       └────────────┴──────────┘               │                     overdue      (quota       ready
//        broker lets go of the client           └──────gate open────────┴───────── changed) ───────┘
//
// Any phase may follow any other when the gate's generation changes; `overdue` carries its reason and is retried, and
// so does `moving` while it is a retry.
#pragma once
#include <cstdint>
#include <optional>

namespace lull {

enum class Class : std::uint8_t { training = 0, interactive = 1, inference = 2 };
inline constexpr Class all_classes[] = {Class::training, Class::interactive, Class::inference};
const char* name_of(Class);
std::optional<Class> parse_class(const char* text);  // null or unknown: nothing
std::optional<Class> parse_class(std::uint8_t untrusted);

enum class GateState : std::uint8_t { unmanaged = 0, closed = 1, open = 2 };

struct GateWord {
  std::uint64_t generation = 0;
  GateState state = GateState::unmanaged;
  bool operator==(const GateWord&) const = default;
};
constexpr std::uint64_t pack(GateWord w) { return w.generation << 2 | static_cast<std::uint64_t>(w.state); }
std::optional<GateWord> parse_gate(std::uint64_t untrusted);

enum class Phase : std::uint8_t { running = 0, draining, drained, moving, ready, overdue };
enum class Overdue : std::uint8_t {
  none = 0,
  thread_inside,     // a thread has not returned from a driver call it made before the gate closed
  stream_busy,       // a kernel or copy is still running
  capture_open,      // a stream capture is open: touching memory would invalidate it
  no_backing,        // the broker has not given enough host memory to evict to
  copy_failed,       // the driver refused or failed a copy; the data stays where it is
  no_device_memory,  // restore: the card has no room yet, whatever the quota says
  spill_lost,        // what is on disk cannot be read, or is not what was written (since minor 2)
};

struct PhaseWord {
  std::uint64_t generation = 0;  // of the gate word this answers
  Phase phase = Phase::running;
  Overdue reason = Overdue::none;
  bool operator==(const PhaseWord&) const = default;
};
constexpr std::uint64_t pack(PhaseWord w) {
  return w.generation << 8 | static_cast<std::uint64_t>(w.phase) << 4 | static_cast<std::uint64_t>(w.reason);
}
std::optional<PhaseWord> parse_phase(std::uint64_t untrusted);

const char* name_of(GateState);
const char* name_of(Phase);
const char* name_of(Overdue);

// Byte counts that may be absent travel as value + 1, so that a fresh page (zero) reads "no limit".
constexpr std::uint64_t pack_limit(std::optional<std::uint64_t> bytes) { return bytes ? *bytes + 1 : 0; }
constexpr std::optional<std::uint64_t> parse_limit(std::uint64_t word) {
  return word == 0 ? std::nullopt : std::optional<std::uint64_t>(word - 1);
}

}  // namespace lull

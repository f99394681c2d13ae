#pragma once

// A gang: up to kLanes threads of a block that execute together, and what becomes of them where they part.
//
// Lanes with the same next instruction form a group. Only one group runs; the others wait, each at its own instruction.
// The group with the lowest instruction goes first, so the lanes that left a loop or took the other side of a branch
// wait after it until the rest has caught up, and are joined there. Lanes at a barrier are parked until the block
// releases them.
//
// Lowest first alone would spin for ever where lanes wait for a lane further on (a lock within a warp): from
// time to time another group has a turn up to its next branch.

#include <array>
#include <bit>
#include <cstdint>
#include <span>

#include "tests/driver/ptx/frame.h"
#include "tests/driver/ptx/program.h"

namespace lull::ptx {

// A set of lanes.
struct Lanes {
  std::array<std::uint64_t, kLanes / 64> bits{};

  static Lanes first(unsigned count);
  bool empty() const { return (bits[0] | bits[1]) == 0; }
  unsigned count() const { return static_cast<unsigned>(std::popcount(bits[0]) + std::popcount(bits[1])); }
  bool operator==(const Lanes&) const = default;
  friend Lanes operator&(const Lanes& a, const Lanes& b) { return {{a.bits[0] & b.bits[0], a.bits[1] & b.bits[1]}}; }
  friend Lanes operator|(const Lanes& a, const Lanes& b) { return {{a.bits[0] | b.bits[0], a.bits[1] | b.bits[1]}}; }
  friend Lanes operator-(const Lanes& a, const Lanes& b) { return {{a.bits[0] & ~b.bits[0], a.bits[1] & ~b.bits[1]}}; }
};
static_assert(kLanes == 128);

struct Group {
  std::uint32_t at = 0;      // next instruction
  std::uint8_t barrier = 0;  // where it is parked
  Lanes lanes;
};

inline constexpr std::uint32_t kNowhere = UINT32_MAX;
inline constexpr std::uint8_t kMeeting = UINT8_MAX;  // the barrier of lanes that wait for others of their warp

struct Gang {
  enum class State : std::uint8_t { fresh, ready, blocked, finished };

  State state = State::fresh;
  std::uint32_t first_thread = 0;  // of the block
  std::uint32_t threads = 0;
  std::uint32_t slot = 0;  // whose rows it uses, once started
  Frame frame;
  Lanes living;                    // that have not ended
  Lanes active;                    // the running group, and its
  std::uint32_t at = 0;            // next instruction
  std::uint32_t meets = kNowhere;  // where the running group comes upon a waiting one
  bool lowest = true;              // no waiting group is behind it
  std::uint32_t turns = 0;         // of the lowest group, since another one had its turn
  std::uint32_t rotation = 0;      // who that was
  std::uint32_t waiting_count = 0;
  std::uint32_t parked_count = 0;
  std::array<std::uint16_t, kLanes> list;
  std::array<Group, kLanes> waiting;
  std::array<Group, kLanes> parked;

  void start(std::uint32_t first, std::uint32_t count);

  // The running group becomes `lanes`, without a change of place.
  void activate(const Lanes& lanes);
  // Lanes that will go on at `at`, later.
  void put_waiting(std::uint32_t at, const Lanes& lanes);
  void park(std::uint32_t at, const Lanes& lanes, std::uint8_t barrier);
  // Lanes parked for a meeting at this instruction; they are parked no longer.
  Lanes take_meeting(std::uint32_t at);
  // Which of `lanes` cannot go on: living lanes of their warp that their mask names are not among them.
  Lanes incomplete(const Lanes& lanes, std::uint32_t mask_row) const;
  // Parked lanes of `barrier` become waiting ones.
  void release(std::uint8_t barrier);
  // At `meets`: the waiting group there joins the running one.
  void join();
  // The running group goes to `target`, whole.
  void jump(std::uint32_t target);
  // Chooses the group to run among the waiting ones. False if there is none.
  bool choose();
};

// The lanes whose predicate is true, or false if negated.
Lanes lanes_where(const Frame& frame, std::uint32_t predicate_row, bool negated);

// Narrows the frame to `lanes`; `list` is used where they are not one range.
void set_active(Frame& frame, const Lanes& lanes, std::span<std::uint16_t, kLanes> list);

}  // namespace lull::ptx

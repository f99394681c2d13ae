#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tests/driver/ptx/gang.h"
#include "tests/driver/ptx/program.h"
#include "tests/driver/ptx/ptx.h"

namespace lull::ptx {

inline constexpr std::size_t kRowAlign = 64;       // bytes
inline constexpr unsigned kBarriers = 16;          // of a block
inline constexpr unsigned kGangs = 1024 / kLanes;  // of the largest block

// Executes blocks of one launch, one after another. Lives in the scratch memory of its thread, with rows, shared and
// local memory behind it, and owns nothing: run() may be left by a jump at any time.
class Block {
 public:
  Block(const Kernel& kernel, const Launch& launch);

  // Of the block itself and what lies behind it; a multiple of kRowAlign.
  static std::size_t bytes_needed(const Kernel& kernel, const Launch& launch);

  // Runs the block at `position` to its end.
  Outcome run();

  // The same in turns, for blocks that are resident together: each gang runs once, until it waits or has had its share.
  void begin();
  bool has_ended() const { return living_ == 0; }
  Outcome take_turn();

  std::array<unsigned, 3> position{};
  std::uint64_t executed = 0;  // thread instructions

 private:
  // The rows of a gang. A gang that ends leaves them to the next one, so few slots see use and they stay in the cache.
  struct Slot {
    std::byte* rows = nullptr;
    bool prepared = false;  // zeroed, constants filled in
    bool taken = false;
    std::int32_t threads_of = -1;  // the gang whose thread numbers are filled in
  };
  struct Barrier {
    std::uint32_t arrived = 0;
    std::uint32_t expected = 0;  // 0 = every living thread
  };

  void begin_gang(Gang& gang);
  void prepare(Slot& slot) const;
  void fill_specials(Slot& slot, const Gang& gang) const;
  void fill_thread_numbers(std::uint32_t* row, Special special, const Gang& gang) const;
  std::uint32_t of_launch(Special special) const;

  // Runs a gang until all its lanes have ended or wait at a barrier, or others should have a turn.
  Outcome advance(Gang& gang);
  Outcome step(Gang& gang, const Instruction& in);
  Outcome execute_narrowed(Gang& gang, const Instruction& in, const Lanes& lanes);
  Outcome branch(Gang& gang, const Instruction& in);
  Outcome part(Gang& gang, const Lanes& lanes);
  Outcome call(Gang& gang, const Instruction& in, const Lanes& lanes);
  Outcome come_back(Gang& gang, const Lanes& lanes);
  Outcome enter(Gang& gang, const Call& call, std::uint32_t number, unsigned lane);
  std::uint32_t leave(Gang& gang, unsigned lane);
  Outcome meet(Gang& gang, const Instruction& in, const Lanes& lanes);
  Outcome end(Gang& gang, const Lanes& lanes);
  Outcome arrive(Gang& gang, const Instruction& in, const Lanes& lanes);
  Outcome check_bounds() const;
  void release_barriers();

  const Kernel& kernel_;
  const Launch& launch_;
  const Program& program_;
  const Handler* handlers_;
  std::byte* shared_;
  std::byte* local_;
  std::byte* saved_;            // registers put aside, Program::save_bytes a thread
  std::uint32_t* call_stack_;   // numbers of the calls in progress, Program::call_depth a thread
  std::uint32_t* calls_open_;   // of a thread
  std::uint32_t* saved_bytes_;  // of a thread
  std::uint32_t threads_;
  std::uint32_t gang_count_;
  std::uint32_t living_ = 0;  // threads that have not ended
  std::uint32_t back_branches_ = 0;
  bool yield_ = false;
  std::array<Barrier, kBarriers> barriers_{};
  std::array<std::uint16_t, kLanes> guard_list_;
  std::array<Slot, kGangs> slots_;
  std::array<Gang, kGangs> gangs_;
};
static_assert(std::is_trivially_destructible_v<Block>);

}  // namespace lull::ptx

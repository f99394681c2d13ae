#include <cstdlib>
#include <new>

#include "tests/driver/ptx/block.h"
#include "tests/driver/ptx/ptx.h"

namespace lull::ptx {
namespace {

constexpr std::size_t kSharedLimit = 227 * 1024;  // bytes a block, static and dynamic: the most any current GPU gives
constexpr std::uint64_t kGridLimitX = 0x7fffffff, kGridLimitYZ = 65535;

// Memory of the calling thread, kept for the next launch: a signal handler may jump out of run().
struct Scratch {
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(base); }

  // Contents are undefined; null if there is no memory.
  std::byte* reserve(std::size_t wanted) {
    if (wanted <= bytes) return base;
    std::free(base);
    bytes = (wanted + kRowAlign - 1) / kRowAlign * kRowAlign;
    base = static_cast<std::byte*>(std::aligned_alloc(kRowAlign, bytes));
    if (base == nullptr) bytes = 0;
    return base;
  }

  std::byte* base = nullptr;
  std::size_t bytes = 0;
};
thread_local Scratch scratch;

bool is_valid(const Module& module, const Kernel& kernel, const Launch& launch) {
  std::uint64_t threads = 1;
  for (const unsigned size : launch.block) {
    if (size == 0 || size > kernel.max_threads) return false;
    threads *= size;
  }
  if (threads > kernel.max_threads) return false;
  if (launch.grid[0] == 0 || launch.grid[1] == 0 || launch.grid[2] == 0) return false;
  if (launch.grid[0] > kGridLimitX || launch.grid[1] > kGridLimitYZ || launch.grid[2] > kGridLimitYZ) return false;
  if (launch.dynamic_shared > kSharedLimit || kernel.shared_bytes + launch.dynamic_shared > kSharedLimit) return false;
  if (kernel.parameter_bytes != 0 && launch.parameters == nullptr) return false;
  return launch.variable_addresses.size() == module.variables.size() && kernel.program != nullptr;
}

std::uint64_t blocks_of(const Launch& launch) {
  return std::uint64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
}

// Calls visit() for the position of every block, in the order x, y, z, while it returns ok.
template <class Visit>
Outcome each_block(const Launch& launch, Visit visit) {
  std::array<unsigned, 3> position{};
  auto& [x, y, z] = position;
  for (z = 0; z < launch.grid[2]; ++z)
    for (y = 0; y < launch.grid[1]; ++y)
      for (x = 0; x < launch.grid[0]; ++x)
        if (const Outcome outcome = visit(position); outcome != Outcome::ok) return outcome;
  return Outcome::ok;
}

Outcome run_in_order(std::byte* memory, const Kernel& kernel, const Launch& launch, std::uint64_t& executed) {
  auto& block = *new (memory) Block(kernel, launch);  // owns nothing, so nobody has to destroy it
  const Outcome outcome = each_block(launch, [&](const auto& position) {
    block.position = position;
    return block.run();
  });
  executed = block.executed;
  return outcome;
}

// The count of instructions goes from block to block with the turn, so that one budget holds for all.
Outcome run_together(std::byte* memory, const Kernel& kernel, const Launch& launch, std::uint64_t& executed) {
  const std::size_t bytes = Block::bytes_needed(kernel, launch);
  std::uint64_t count = 0;
  (void)each_block(launch, [&](const auto& position) {
    auto& block = *new (memory + bytes * count++) Block(kernel, launch);
    block.position = position;
    block.begin();
    return Outcome::ok;
  });
  for (std::uint64_t ended = 0; ended != count;) {
    ended = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      auto& block = *std::launder(reinterpret_cast<Block*>(memory + bytes * i));
      if (block.has_ended()) {
        ++ended;
        continue;
      }
      block.executed = executed;
      const Outcome outcome = block.take_turn();
      executed = block.executed;
      if (outcome != Outcome::ok) return outcome;
    }
  }
  return Outcome::ok;
}

}  // namespace

Outcome run(const Module& module, const Kernel& kernel, const Launch& launch) {
  if (launch.executed != nullptr) *launch.executed = 0;
  if (!is_valid(module, kernel, launch)) return Outcome::invalid;
  const std::uint64_t resident = launch.cooperative ? blocks_of(launch) : 1;
  if (resident > kResidentLimit) return Outcome::invalid;
  std::byte* const memory = scratch.reserve(Block::bytes_needed(kernel, launch) * resident);
  if (memory == nullptr) return Outcome::invalid;
  std::uint64_t executed = 0;
  const Outcome outcome = (launch.cooperative ? run_together : run_in_order)(memory, kernel, launch, executed);
  if (launch.executed != nullptr) *launch.executed = executed;
  return outcome;
}

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::ok: return "ok";
    case Outcome::stopped: return "stopped";
    case Outcome::budget_exceeded: return "instruction budget exceeded";
    case Outcome::trap: return "trap";
    case Outcome::bad_address: return "address outside shared or local memory";
    case Outcome::misaligned: return "misaligned address";
    case Outcome::stack_overflow: return "stack overflow";
    case Outcome::deadlock: return "deadlock at a barrier";
    case Outcome::invalid: return "invalid launch";
  }
  return "unknown outcome";
}

}  // namespace lull::ptx

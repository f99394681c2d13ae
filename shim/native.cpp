#include "shim/native.h"

#include <atomic>

#include "shim/arrays.h"
#include "shim/graph_memory.h"
#include "shim/pools.h"

namespace lull::native {
namespace {

std::atomic<std::uint64_t> changes_so_far{0};

}  // namespace

std::uint64_t bytes(unsigned slot) {
  if (changes() == 0) return 0;
  return pools::held(slot).reserved + graph_memory::reserved(slot) + arrays::bytes(slot);
}

std::uint64_t idle(unsigned slot) {
  return changes() == 0 ? 0 : pools::held(slot).idle() + graph_memory::reserved(slot);
}

bool trim(unsigned slot) { return pools::trim(slot); }

void changed() { changes_so_far.fetch_add(1, std::memory_order_release); }
std::uint64_t changes() { return changes_so_far.load(std::memory_order_acquire); }
bool may_differ(std::uint64_t since) { return changes() != since || graph_memory::used(); }

}  // namespace lull::native

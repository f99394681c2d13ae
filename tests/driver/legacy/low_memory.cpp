#include <sys/mman.h>

#include "tests/driver/legacy/legacy.h"
#include "tests/driver/memory/memory.h"

namespace lull::sim {
namespace {

// A free place there; nothing holds it, so reserve() may still be refused.
std::uintptr_t find_low(std::size_t bytes) {
#ifdef MAP_32BIT
  void* raw =
      ::mmap(nullptr, bytes + granule_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT, -1, 0);
  if (raw == MAP_FAILED) return 0;
  (void)::munmap(raw, bytes + granule_bytes);
  return (reinterpret_cast<std::uintptr_t>(raw) + granule_bytes - 1) / granule_bytes * granule_bytes;
#else
  return bytes ? 0 : 0;  // other processors' kernels have no such flag
#endif
}

}  // namespace

std::uintptr_t allocate_low(Context& context, std::size_t bytes) {
  const std::size_t whole = (bytes + granule_bytes - 1) / granule_bytes * granule_bytes;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  auto physical = Physical::take(context.device(), whole);
  const std::uintptr_t wanted = physical ? find_low(whole) : 0;
  if (!wanted) return 0;
  const std::uintptr_t base = all.reserve(whole, granule_bytes, wanted, Holds::allocations);
  if (!base) return 0;
  if (base != wanted || !all.map(base, whole, std::move(physical)) ||
      !all.set_access(base, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)) {
    all.unreserve(base);
    return 0;
  }
  all.allocations[base] = {.bytes = bytes,
                           .kind = AllocationKind::device,
                           .context = &context,
                           .device = &context.device(),
                           .slab = 0,
                           .id = next_allocation_id()};
  return base;
}

}  // namespace lull::sim

// Legacy IPC of cuMemAlloc memory. What is shared is the physical memory behind an allocation, so a small one brings
// its slab with it. Events between processes: stream/ipc_event_api.cpp.
#include <unistd.h>

#include <cstring>

#include "tests/driver/graph/graph.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t magic = 0x31435049'4d495347u;

struct Handle {
  std::uint64_t magic;
  std::uint8_t card[16];
  std::uint64_t serial;
  std::uint32_t index;
  std::int32_t pid;
  std::uint64_t allocation;  // a later one at the same address is another
  std::uint64_t offset;      // from the start of what is shared
  std::uint64_t bytes;
};
static_assert(sizeof(Handle) == CU_IPC_HANDLE_SIZE);

struct Opened {
  const Context* context;
  std::uint64_t serial, allocation;
  unsigned count;
};
// By the address returned. Guarded by Space::mutex; an entry whose allocation went with its context is stale.
std::map<std::uintptr_t, Opened>& opened() {
  static auto& all = *new std::map<std::uintptr_t, Opened>;
  std::erase_if(all, [](const auto& entry) {
    const auto found = space().allocations.find(entry.first);
    return found == space().allocations.end() || found->second.kind != AllocationKind::ipc;
  });
  return all;
}

CUresult fill(Handle& out, std::uintptr_t base, const Allocation& allocation) {
  const std::uintptr_t start = allocation.slab ? allocation.slab : base;
  Physical& physical = *space().mapped.at(start).physical;
  if (!share(physical, SharedAs::ipc)) return CUDA_ERROR_OUT_OF_MEMORY;
  out.magic = magic;
  allocation.device->card->uuid(out.card);
  out.serial = physical.share->serial;
  out.index = physical.share->index;
  out.pid = ::getpid();
  out.allocation = allocation.id;
  out.offset = base - start;
  out.bytes = allocation.bytes;
  return CUDA_SUCCESS;
}

CUresult open(CUdeviceptr* out, const Handle& handle, Context& context) {
  for (auto& [address, entry] : opened()) {
    if (entry.context != &context || entry.serial != handle.serial || entry.allocation != handle.allocation) continue;
    ++entry.count;
    *out = address;
    return CUDA_SUCCESS;
  }
  auto physical = shared_physical({&context.device(), {handle.index, handle.serial}}, SharedAs::ipc);
  if (!physical) return CUDA_ERROR_INVALID_HANDLE;
  if (handle.offset > physical->bytes || handle.bytes > physical->bytes - handle.offset)
    return CUDA_ERROR_INVALID_HANDLE;
  const std::uintptr_t base = map_shared(std::move(physical));
  if (!base) return CUDA_ERROR_MAP_FAILED;
  *out = base + handle.offset;
  space().allocations[*out] = {.bytes = handle.bytes,
                               .kind = AllocationKind::ipc,
                               .context = &context,
                               .device = &context.device(),
                               .slab = base,
                               .id = next_allocation_id(),
                               .pool = nullptr};
  opened()[*out] = {&context, handle.serial, handle.allocation, 1};
  return CUDA_SUCCESS;
}

}  // namespace

namespace api {

CUresult cuIpcGetMemHandle(CUipcMemHandle* pHandle, CUdeviceptr dptr) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!pHandle) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.allocations.find(dptr);
  // What cuMemCreate or a pool made is not for this way of sharing, nor is memory of another process.
  if (found == all.allocations.end() || found->second.kind != AllocationKind::device) return CUDA_ERROR_INVALID_VALUE;
  Handle handle{};
  if (const CUresult failed = fill(handle, dptr, found->second)) return failed;
  std::memcpy(pHandle, &handle, sizeof handle);
  return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* pdptr, CUipcMemHandle raw, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!pdptr || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Handle handle{};
  std::memcpy(&handle, &raw, sizeof handle);
  const Device* device = handle.magic == magic ? device_with_card(handle.card) : nullptr;
  if (!device) return CUDA_ERROR_INVALID_HANDLE;
  if (handle.pid == ::getpid()) return CUDA_ERROR_INVALID_CONTEXT;  // not in the process that made it
  if (device != &context->device()) return CUDA_ERROR_MAP_FAILED;   // no card reaches into another
  const std::scoped_lock lock(space().mutex);
  return open(pdptr, handle, *context);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr dptr) {
  const Found context = current_context();
  if (!context) return context.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  {
    const std::scoped_lock lock(space().mutex);
    const auto found = opened().find(dptr);
    if (found == opened().end()) return CUDA_ERROR_INVALID_VALUE;
    if (--found->second.count > 0) return CUDA_SUCCESS;
    opened().erase(dptr);
  }
  if (const CUresult failed = context->synchronize()) return failed;
  return close_ipc(dptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace api
}  // namespace lull::sim

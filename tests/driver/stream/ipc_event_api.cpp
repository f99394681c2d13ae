// Events between processes. What the handle names is in the card's file, see card/card_events.cpp.
#include <unistd.h>

#include <cstring>

#include "tests/driver/context/context.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/registry.h"
#include "tests/driver/stream/event.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t magic = 0x31544556'4d495347u;

struct Handle {
  std::uint64_t magic;
  std::uint8_t card[16];
  std::uint64_t serial;
  std::uint32_t index;
  std::int32_t pid;
  std::uint8_t reserved[24];
};
static_assert(sizeof(Handle) == CU_IPC_HANDLE_SIZE);

}  // namespace

namespace api {

CUresult cuIpcGetEventHandle(CUipcEventHandle* pHandle, CUevent raw) {
  const auto event = registry<Event>().find(raw);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  if (!pHandle) return CUDA_ERROR_INVALID_VALUE;
  if (!event->shared || event->imported) return CUDA_ERROR_INVALID_HANDLE;
  Handle handle{};
  handle.magic = magic;
  event->device->card->uuid(handle.card);
  handle.serial = event->shared->serial;
  handle.index = event->shared->index;
  handle.pid = ::getpid();
  std::memcpy(pHandle, &handle, sizeof handle);
  return CUDA_SUCCESS;
}

CUresult cuIpcOpenEventHandle(CUevent* phEvent, CUipcEventHandle raw) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!phEvent) return CUDA_ERROR_INVALID_VALUE;
  Handle handle{};
  std::memcpy(&handle, &raw, sizeof handle);
  Device* const device = handle.magic == magic ? device_with_card(handle.card) : nullptr;
  if (!device) return CUDA_ERROR_INVALID_HANDLE;
  if (handle.pid == ::getpid()) return CUDA_ERROR_INVALID_CONTEXT;  // not in the process that made it
  if (device != &context->device()) return CUDA_ERROR_MAP_FAILED;   // no card reaches into another
  const EventId id{handle.index, handle.serial};
  if (!device->card->has_event(id)) return CUDA_ERROR_INVALID_HANDLE;
  auto event = std::make_shared<Event>();
  event->flags = CU_EVENT_DISABLE_TIMING;
  event->context = context.context;
  event->device = device;
  event->shared = id;
  event->imported = true;
  *phEvent = reinterpret_cast<CUevent>(registry<Event>().add(std::move(event)));
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim

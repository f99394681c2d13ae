#include "tests/driver/memory/sharing.h"

#include <cstring>

namespace lull::sim {
namespace {

// What a share's note says of memory.
struct Note {
  SharedAs as;
  CUmemAllocationHandleType handle_types;
  CUmemLocation location;
  decltype(CUmemAllocationProp::allocFlags) flags;
};
static_assert(sizeof(Note) <= sizeof(ShareNote));

ShareNote note_of(const CUmemAllocationProp& properties, SharedAs as) {
  const Note note{as, properties.requestedHandleTypes, properties.location, properties.allocFlags};
  ShareNote raw{};
  std::memcpy(raw.data(), &note, sizeof note);
  return raw;
}

Note read(const ShareNote& raw) {
  Note note{};
  std::memcpy(&note, raw.data(), sizeof note);
  return note;
}

// What this process holds already, by the serial of its share. Guarded by Space::mutex.
struct Held {
  std::weak_ptr<Physical> physical;
  SharedAs as;
};
std::map<std::pair<Device*, std::uint64_t>, Held>& held() {
  static auto& all = *new std::map<std::pair<Device*, std::uint64_t>, Held>;
  std::erase_if(all, [](const auto& entry) { return entry.second.physical.expired(); });
  return all;
}

}  // namespace

CUresult check_handle_types(unsigned long long types) {
  constexpr unsigned long long known = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR | CU_MEM_HANDLE_TYPE_WIN32 |
                                       CU_MEM_HANDLE_TYPE_WIN32_KMT | CU_MEM_HANDLE_TYPE_FABRIC;
  if (types & ~known) return CUDA_ERROR_INVALID_VALUE;
  return types & ~std::uint64_t{CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR} ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

bool share(Physical& physical, SharedAs as) {
  if (physical.share) return true;
  physical.share = physical.device.card->share(physical.extents, note_of(physical.properties, as));
  if (!physical.share) return false;
  held()[{&physical.device, physical.share->serial}] = {physical.weak_from_this(), as};
  return true;
}

std::shared_ptr<Physical> shared_physical(const FoundShare& found, SharedAs as) {
  auto& already = held();
  if (const auto entry = already.find({found.device, found.id.serial}); entry != already.end()) {
    return entry->second.as == as ? entry->second.physical.lock() : nullptr;
  }
  auto physical = std::make_shared<Physical>(*found.device, 0);
  ShareNote raw{};
  if (!found.device->card->hold(found.id, physical->extents, raw)) return nullptr;
  physical->share = found.id;  // from here on its end drops it
  physical->id = next_allocation_id();
  const Note note = read(raw);
  if (note.as != as) return nullptr;
  for (const Extent& extent : physical->extents) physical->bytes += extent.count * granule_bytes;
  physical->properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  physical->properties.requestedHandleTypes = note.handle_types;
  physical->properties.location = {.type = note.location.type, .id = found.device->ordinal};
  physical->properties.allocFlags = note.flags;
  already[{found.device, found.id.serial}] = {physical, as};
  return physical;
}

std::uintptr_t map_shared(std::shared_ptr<Physical> physical) {
  Space& all = space();
  const std::size_t bytes = physical->bytes;
  const std::uintptr_t base = all.reserve(bytes, granule_bytes, 0, Holds::allocations);
  if (!base) return 0;
  if (all.map(base, bytes, std::move(physical)) && all.set_access(base, CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
    return base;
  all.unreserve(base);
  return 0;
}

int descriptor_of(Device& device, const ShareId& id) { return device.card->descriptor_of(id); }

std::optional<FoundShare> share_of_descriptor(int fd) {
  for (const auto& device : devices()) {
    if (const auto id = device->card->share_of_descriptor(fd)) return FoundShare{device.get(), *id};
  }
  return {};
}

Device* device_with_card(const std::uint8_t uuid[16]) {
  for (const auto& device : devices()) {
    std::uint8_t own[16];
    device->card->uuid(own);
    if (std::memcmp(own, uuid, sizeof own) == 0) return device.get();
  }
  return nullptr;
}

}  // namespace lull::sim

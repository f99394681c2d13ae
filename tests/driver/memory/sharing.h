// Memory that processes share: the handles of cuMemCreate, legacy IPC, pools. All three refer to a share of the card
// (card_share.cpp), whose note tells what it is.
#pragma once
#include <memory>
#include <optional>

#include "tests/driver/memory/memory.h"

namespace lull::sim {

enum class SharedAs : std::uint32_t { allocation = 1, ipc, pool, pool_chunk };

// The device whose card has a share, and the share.
struct FoundShare {
  Device* device = nullptr;
  ShareId id{};
};

// Of handle types asked for at creation: descriptors are all there is. 801 for the others that Linux has, 1 for what
// is none.
CUresult check_handle_types(unsigned long long types);

// All need Space::mutex.
// Makes memory one that others may hold; false: the card has no room for another share.
bool share(Physical& physical, SharedAs as);
// The memory of a share, held by this process from now on; null: there is none, or it was shared as something else.
std::shared_ptr<Physical> shared_physical(const FoundShare& found, SharedAs as);
// Puts it at an address of this process; 0: no address is left.
std::uintptr_t map_shared(std::shared_ptr<Physical> physical);

// Descriptors. -1: it could not be made.
int descriptor_of(Device& device, const ShareId& id);
std::optional<FoundShare> share_of_descriptor(int fd);
// The device with this card; null: none in this process.
Device* device_with_card(const std::uint8_t uuid[16]);

}  // namespace lull::sim

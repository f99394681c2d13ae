// Memory that the program maps itself: reservations, physical handles, access.
#include "tests/random/actor.h"

namespace lull::random {
namespace {

// By name: the second member is a union in newer headers.
CUmemLocation on_first_card() {
  CUmemLocation location{};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  location.id = 0;
  return location;
}

CUmemAllocationProp on_device() {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = on_first_card();
  return properties;
}

CUresult allow(CUdeviceptr at, std::size_t bytes, CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
  const CUmemAccessDesc access{on_first_card(), flags};
  return cuMemSetAccess(at, bytes, &access, 1);
}

// As llama.cpp and expandable segments do: several handles side by side, released at once, one access for all.
void map(Actor& actor, Dice& dice) {
  const std::size_t pieces = dice.between(1, 3), each = dice.between(1, 2) * granule, bytes = pieces * each;
  const bool released_at_once = dice.one_in(2);
  if (actor.bytes_held() + bytes > most_bytes) return;
  CUdeviceptr at = 0;
  const CUresult reserved = cuMemAddressReserve(&at, bytes, 0, 0, 0);
  actor.say("reserve {} -> {}", bytes, int(reserved));
  if (reserved) return;
  const CUmemAllocationProp properties = on_device();
  std::vector<CUmemGenericAllocationHandle> handles(pieces);
  for (std::size_t i = 0; i < pieces; ++i) {
    const CUresult created = cuMemCreate(&handles[i], each, &properties, 0);
    const CUresult mapped = cuMemMap(at + i * each, each, 0, handles[i], 0);
    actor.say("create, map {} of {} -> {} {}", i, each, int(created), int(mapped));
    if (released_at_once) actor.say("release -> {}", int(cuMemRelease(handles[i])));
  }
  actor.say("access -> {}", int(allow(at, bytes)));
  CUmemGenericAllocationHandle again = 0;
  const CUresult retained = cuMemRetainAllocationHandle(&again, reinterpret_cast<void*>(at + each / 2));
  actor.say("retain -> {}, the same {}", int(retained), again == handles[0]);
  CUmemAllocationProp told{};
  const CUresult asked = cuMemGetAllocationPropertiesFromHandle(&told, again);
  actor.say("properties -> {}, type {} on {}", int(asked), int(told.type), told.location.id);
  actor.say("release -> {}", int(cuMemRelease(again)));
  if (!released_at_once) {
    for (const auto handle : handles) actor.say("release -> {}", int(cuMemRelease(handle)));
  }
  actor.add(at, bytes, Origin::mapped);
}

void unmap(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  const bool by_halves = dice.one_in(4);
  if (!buffer || buffer->origin != Origin::mapped) return;
  actor.say("b{} holds {:016x}", buffer->number, actor.contents(*buffer));
  if (by_halves) actor.say("half a piece -> {}", int(cuMemUnmap(buffer->at, granule / 2)));
  actor.say("b{} freed while mapped -> {}", buffer->number, int(cuMemAddressFree(buffer->at, buffer->bytes)));
  const CUresult unmapped = cuMemUnmap(buffer->at, buffer->bytes);
  const CUresult freed = cuMemAddressFree(buffer->at, buffer->bytes);
  actor.say("b{} -> {}, its address -> {}", buffer->number, int(unmapped), int(freed));
  actor.remove(buffer);
}

void remap(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer || buffer->origin != Origin::mapped) return;
  (void)actor.contents(*buffer);
  CUmemGenericAllocationHandle handle = 0;
  const CUmemAllocationProp properties = on_device();
  const CUresult unmapped = cuMemUnmap(buffer->at, buffer->bytes);
  const CUresult created = cuMemCreate(&handle, buffer->bytes, &properties, 0);
  const CUresult mapped = cuMemMap(buffer->at, buffer->bytes, 0, handle, 0);
  const CUresult twice = cuMemMap(buffer->at, buffer->bytes, 0, handle, 0);
  const CUresult allowed = allow(buffer->at, buffer->bytes);
  const CUresult released = cuMemRelease(handle);
  actor.say("b{} -> {} {} {}, mapped twice {}, {} {}", buffer->number, int(unmapped), int(created), int(mapped),
            int(twice), int(allowed), int(released));
  const CUresult filled = cuMemsetD32_v2(buffer->at, 7, buffer->bytes / 4);
  actor.say("fill -> {}, holds {:016x}", int(filled), actor.contents(*buffer));
}

void access_of(Actor& actor, Dice& dice) {
  const Buffer* buffer = actor.some_buffer(dice);
  const bool read_only = dice.one_in(2);
  if (!buffer || buffer->origin != Origin::mapped) return;
  (void)cuCtxSynchronize();  // work in flight may write
  unsigned long long flags = 0;
  const CUmemLocation device = on_first_card();
  if (read_only)
    actor.say("b{} read only -> {}", buffer->number,
              int(allow(buffer->at, buffer->bytes, CU_MEM_ACCESS_FLAGS_PROT_READ)));
  const CUresult result = cuMemGetAccess(&flags, &device, buffer->at);
  actor.say("b{} -> {}, {}", buffer->number, int(result), flags);
  if (read_only) actor.say("b{} again -> {}", buffer->number, int(allow(buffer->at, buffer->bytes)));
}

void never_mapped(Actor& actor, Dice& dice) {
  CUmemGenericAllocationHandle handle = 0;
  const CUmemAllocationProp properties = on_device();
  const std::size_t bytes = dice.one_in(3) ? granule / 2 : granule;
  const CUresult created = cuMemCreate(&handle, bytes, &properties, 0);
  actor.say("create {} -> {}", bytes, int(created));
  if (!created) actor.say("release -> {}", int(cuMemRelease(handle)));
  std::size_t smallest = 0;
  const CUresult asked = cuMemGetAllocationGranularity(&smallest, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  actor.say("granularity -> {}, {}", int(asked), smallest);
}

}  // namespace

const std::vector<Operation> own_memory_operations = {
    {"map", 4, map},
    {"unmap", 3, unmap},
    {"remap", 2, remap},
    {"access", 2, access_of},
    {"cuMemCreate", 1, never_mapped},
};

}  // namespace lull::random

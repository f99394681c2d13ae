// Memory that the driver gives with an address, and what it tells about it.
#include "tests/random/actor.h"

namespace lull::random {
namespace {

std::size_t some_size(Dice& dice) {
  switch (dice.below(4)) {
    case 0: return 4 * dice.between(1, 1024);
    case 1: return 4 * dice.between(1024, 128u << 10);
    case 2: return granule * dice.between(1, 2);
    default: return 4 * dice.between(256u << 10, 1500u << 10);
  }
}

void allocate(Actor& actor, Dice& dice) {
  const std::size_t bytes = some_size(dice);
  if (actor.bytes_held() + bytes > most_bytes) return;
  CUdeviceptr at = 0;
  const CUresult result = cuMemAlloc_v2(&at, bytes);
  actor.say("{} bytes -> {}, aligned {}", bytes, int(result), at % 256 == 0);
  if (!result) actor.add(at, bytes, Origin::alloc);
}

void allocate_pitched(Actor& actor, Dice& dice) {
  const std::size_t width = 4 * dice.between(1, 5000), height = dice.between(1, 64);
  const auto element = static_cast<unsigned>(4 << dice.below(3));
  if (actor.bytes_held() + (width + 512) * height > most_bytes) return;
  CUdeviceptr at = 0;
  std::size_t pitch = 0;
  const CUresult result = cuMemAllocPitch_v2(&at, &pitch, width, height, element);
  actor.say("{} x {} of {} -> {}, pitch {}", width, height, element, int(result), pitch);
  if (!result) actor.add(at, pitch * height, Origin::pitched);
}

void allocate_managed(Actor& actor, Dice& dice) {
  const std::size_t bytes = 4 * dice.between(1, 256u << 10);
  if (actor.bytes_held() + bytes > most_bytes) return;
  CUdeviceptr at = 0;
  const CUresult result = cuMemAllocManaged(&at, bytes, CU_MEM_ATTACH_GLOBAL);
  actor.say("{} bytes -> {}", bytes, int(result));
  if (!result) actor.add(at, bytes, Origin::managed);
}

void allocate_in_order(Actor& actor, Dice& dice) {
  const std::size_t bytes = some_size(dice);
  unsigned number = 0;
  CUstream stream = actor.some_stream(dice, &number);
  if (actor.bytes_held() + bytes > most_bytes) return;
  CUdeviceptr at = 0;
  const CUresult result = cuMemAllocAsync(&at, bytes, stream);
  actor.say("{} bytes in s{} -> {}", bytes, number, int(result));
  if (result) return;
  (void)cuStreamSynchronize(stream);
  actor.add(at, bytes, Origin::stream_ordered);
}

void give_back(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  const bool looked_at = dice.one_in(2);
  if (!buffer || buffer->origin == Origin::mapped) return;
  if (looked_at) actor.say("b{} holds {:016x}", buffer->number, actor.contents(*buffer));
  const bool in_order = dice.one_in(2);
  if (in_order && buffer->last != CU_STREAM_PER_THREAD) (void)cuStreamSynchronize(buffer->last);
  const CUresult result = in_order ? cuMemFreeAsync(buffer->at, buffer->last) : cuMemFree_v2(buffer->at);
  actor.say("b{}{} -> {}", buffer->number, in_order ? " in order" : "", int(result));
  actor.remove(buffer);
}

void free_nothing(Actor& actor, Dice&) { actor.say("-> {}", int(cuMemFree_v2(0))); }

void address_range(Actor& actor, Dice& dice) {
  const Buffer* buffer = actor.some_buffer(dice);
  const std::uint64_t throw_ = dice.next();
  // Of a pool's memory and of the program's own mapping drivers tell the allocation or the reservation, as they like.
  if (!buffer || buffer->origin == Origin::mapped || buffer->origin == Origin::stream_ordered) return;
  const CUdeviceptr inside = buffer->at + throw_ % buffer->bytes;
  CUdeviceptr base = 0;
  std::size_t size = 0;
  const CUresult result = cuMemGetAddressRange_v2(&base, &size, inside);
  actor.say("b{}+{} -> {}, base {:+}, {} bytes", buffer->number, inside - buffer->at, int(result),
            static_cast<std::int64_t>(base - buffer->at), size);
  const CUresult no_base = cuMemGetAddressRange_v2(nullptr, &size, inside);
  actor.say("without base -> {}, {} bytes", int(no_base), size);
}

template <class T>
void tell(Actor& actor, const Buffer& buffer, const char* name, CUpointer_attribute attribute, CUdeviceptr at) {
  T value{};
  const CUresult result = cuPointerGetAttribute(&value, attribute, at);
  actor.say("b{} {} -> {}, {}", buffer.number, name, int(result), value);
}

void attributes(Actor& actor, Dice& dice) {
  const Buffer* buffer = actor.some_buffer(dice);
  const std::uint64_t throw_ = dice.next();
  if (!buffer) return;
  const CUdeviceptr at = buffer->at + throw_ % buffer->bytes;
  tell<unsigned>(actor, *buffer, "memory type", CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at);
  tell<int>(actor, *buffer, "device", CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, at);
  tell<unsigned>(actor, *buffer, "managed", CU_POINTER_ATTRIBUTE_IS_MANAGED, at);
  tell<unsigned>(actor, *buffer, "mapped", CU_POINTER_ATTRIBUTE_MAPPED, at);
  CUdeviceptr device = 0;
  const CUresult result = cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, at);
  actor.say("b{} device pointer -> {}, {:+}", buffer->number, int(result), static_cast<std::int64_t>(device - at));
  if (buffer->origin != Origin::alloc && buffer->origin != Origin::pitched) return;
  CUcontext context = nullptr;
  const CUresult of_context = cuPointerGetAttribute(&context, CU_POINTER_ATTRIBUTE_CONTEXT, at);
  CUdeviceptr start = 0;
  std::size_t size = 0;
  CUpointer_attribute both[] = {CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void* where[] = {&start, &size};
  const CUresult several = cuPointerGetAttributes(2, both, where, at);
  actor.say("b{} context -> {}, ours {}; range -> {}, {:+}, {} bytes", buffer->number, int(of_context),
            context == actor.context, int(several), static_cast<std::int64_t>(start - buffer->at), size);
}

void amounts(Actor& actor, Dice&) {
  std::size_t free = 0, total = 0, of_device = 0;
  const CUresult result = cuMemGetInfo_v2(&free, &total);
  const CUresult device = cuDeviceTotalMem_v2(&of_device, 0);
  actor.say("-> {} {}, total is the device's {}, free fits {}", int(result), int(device), total == of_device,
            free <= total);
}

void register_host(Actor& actor, Dice& dice) {
  const std::size_t bytes = 4096 * dice.between(1, 64);
  Buffer* buffer = actor.some_buffer(dice);
  void* memory = std::aligned_alloc(4096, bytes);
  const CUresult result = cuMemHostRegister_v2(memory, bytes, 0);
  actor.say("{} bytes -> {}", bytes, int(result));
  if (buffer && !result) {
    const std::size_t count = std::min(bytes, buffer->bytes);
    actor.bring(*buffer, nullptr);
    const CUresult copied = cuMemcpyDtoHAsync_v2(memory, buffer->at, count, nullptr);
    const CUresult finished = cuStreamSynchronize(nullptr);
    actor.say("b{} -> {} {}, {:016x}", buffer->number, int(copied), int(finished), hash(memory, count));
  }
  if (!result) actor.say("unregister -> {}", int(cuMemHostUnregister(memory)));
  std::free(memory);
}

}  // namespace

const std::vector<Operation> memory_operations = {
    {"cuMemAlloc", 12, allocate},
    {"cuMemAllocPitch", 3, allocate_pitched},
    {"cuMemAllocManaged", 2, allocate_managed},
    {"cuMemAllocAsync", 5, allocate_in_order},
    {"free", 10, give_back},
    {"cuMemFree(0)", 1, free_nothing},
    {"cuMemGetAddressRange", 4, address_range},
    {"cuPointerGetAttribute", 4, attributes},
    {"cuMemGetInfo", 2, amounts},
    {"cuMemHostRegister", 2, register_host},
};

}  // namespace lull::random

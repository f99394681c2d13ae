// What a program does wrong, and must be told about as the driver alone would tell it. One thing is left out: a copy
// that overruns its allocation by a little. The driver may notice; over chunks that allocations share it does not.
#include "tests/random/actor.h"

namespace lull::random {
namespace {

void nonsense_sizes(Actor& actor, Dice&) {
  CUdeviceptr at = 0;
  const CUresult none = cuMemAlloc_v2(&at, 0), nowhere = cuMemAlloc_v2(nullptr, 4096),
                 too_much = cuMemAlloc_v2(&at, 1ull << 42);
  std::size_t pitch = 0;
  const CUresult element = cuMemAllocPitch_v2(&at, &pitch, 100, 10, 5);
  actor.say("none {}, nowhere {}, too much {}, element {}", int(none), int(nowhere), int(too_much), int(element));
}

void not_ours(Actor& actor, Dice&) {
  unsigned on_stack = 0;
  const auto at = reinterpret_cast<CUdeviceptr>(&on_stack);
  unsigned type = 0;
  CUdeviceptr base = 0;
  const CUresult freed = cuMemFree_v2(at), range = cuMemGetAddressRange_v2(&base, nullptr, at);
  const CUresult attribute = cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at);
  const CUresult unregistered = cuMemHostUnregister(&on_stack), unpinned = cuMemFreeHost(&on_stack);
  actor.say("free {}, range {}, attribute {}, unregister {}, free host {}", int(freed), int(range), int(attribute),
            int(unregistered), int(unpinned));
}

void inside(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer || buffer->bytes < 1024 || buffer->origin == Origin::mapped) return;
  actor.say("free b{}+512 -> {}", buffer->number, int(cuMemFree_v2(buffer->at + 512)));
}

void twice(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer || !actor.alone || buffer->origin != Origin::alloc) return;
  const unsigned number = buffer->number;
  const CUdeviceptr at = buffer->at;
  (void)cuCtxSynchronize();
  const CUresult first = cuMemFree_v2(at), second = cuMemFree_v2(at);
  actor.say("b{} -> {} {}", number, int(first), int(second));
  actor.remove(buffer);
}

void nothing_to_do(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer) return;
  unsigned word = 0;
  const CUresult in = cuMemcpyHtoD_v2(buffer->at, &word, 0), out = cuMemcpyDtoH_v2(&word, buffer->at, 0);
  const CUresult set = cuMemsetD32_v2(buffer->at, 0, 0);
  actor.say("b{} -> {} {} {}", buffer->number, int(in), int(out), int(set));
}

void bad_launches(Actor& actor, Dice&) {
  CUdeviceptr at = 0;
  unsigned count = 0, seed = 0;
  void* arguments[] = {&at, &count, &seed};
  CUfunction f = actor.kernels.fill;
  const CUresult empty = cuLaunchKernel(f, 0, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr);
  const CUresult large = cuLaunchKernel(f, 1, 1, 1, 2048, 1, 1, 0, nullptr, arguments, nullptr);
  const CUresult shared = cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 1u << 20, nullptr, arguments, nullptr);
  const CUresult nobody = cuLaunchKernel(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr);
  const CUresult good = cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, arguments, nullptr);
  actor.say("empty {}, large {}, shared {}, nobody {}, good {}", int(empty), int(large), int(shared), int(nobody),
            int(good));
}

void never_recorded(Actor& actor, Dice&) {
  CUevent event = nullptr;
  (void)cuEventCreate(&event, 0);
  float milliseconds = 0;
  const CUresult elapsed = cuEventElapsedTime_v2(&milliseconds, event, event);
  const CUresult waited = cuStreamWaitEvent(nullptr, event, 0), synchronised = cuEventSynchronize(event);
  actor.say("elapsed {}, wait {}, synchronise {}, destroy {}", int(elapsed), int(waited), int(synchronised),
            int(cuEventDestroy_v2(event)));
}

void no_reservation(Actor& actor, Dice&) {
  CUdeviceptr at = 0;
  const CUresult crooked = cuMemAddressReserve(&at, 1000, 0, 0, 0);
  const CUresult unmapped = cuMemUnmap(0x1000, granule), released = cuMemRelease(12345);
  const CUresult mapped = cuMemMap(0x200000, granule, 0, 12345, 0);
  actor.say("reserve {}, unmap {}, release {}, map {}", int(crooked), int(unmapped), int(released), int(mapped));
}

}  // namespace

const std::vector<Operation> misuse_operations = {{"sizes", 1, nonsense_sizes},
                                                  {"not ours", 1, not_ours},
                                                  {"inside", 1, inside},
                                                  {"twice", 1, twice},
                                                  {"nothing", 1, nothing_to_do},
                                                  {"bad launches", 1, bad_launches},
                                                  {"never recorded", 1, never_recorded},
                                                  {"no reservation", 1, no_reservation}};

}  // namespace lull::random

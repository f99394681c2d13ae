// Contexts beside the one in which the actor lives.
#include "tests/random/actor.h"

namespace lull::random {
namespace {

// A context of its own, memory in it, gone with it.
void another_context(Actor& actor, Dice& dice) {
  const std::size_t bytes = granule * dice.between(1, 2);
  const bool freed = dice.one_in(2);
  CUcontext context = nullptr, current = nullptr;
  const CUresult created = cuCtxCreate_v2(&context, 0, 0);
  CUdeviceptr at = 0;
  const CUresult allocated = cuMemAlloc_v2(&at, bytes);
  const CUresult filled = cuMemsetD32_v2(at, 77, bytes / 4);
  unsigned value = 0;
  const CUresult read = cuMemcpyDtoH_v2(&value, at + bytes - 4, 4);
  actor.say("create -> {}, {} bytes -> {} {} {} {}", int(created), bytes, int(allocated), int(filled), int(read),
            value);
  if (freed) actor.say("free -> {}", int(cuMemFree_v2(at)));
  const CUresult popped = cuCtxPopCurrent_v2(&current);
  const CUresult destroyed = cuCtxDestroy_v2(context);
  CUcontext back = nullptr;
  const CUresult asked = cuCtxGetCurrent(&back);
  actor.say("pop -> {} {}, destroy -> {}, back {} {}", int(popped), current == context, int(destroyed), int(asked),
            back == actor.context);
}

void primary_context(Actor& actor, Dice&) {
  CUcontext primary = nullptr;
  const CUresult retained = cuDevicePrimaryCtxRetain(&primary, 0);
  const CUresult pushed = cuCtxPushCurrent_v2(primary);
  CUdeviceptr at = 0;
  const CUresult allocated = cuMemAlloc_v2(&at, 100000);
  const CUresult filled = cuMemsetD8_v2(at, 3, 100000);
  const CUresult freed = cuMemFree_v2(at);
  CUcontext popped = nullptr;
  const CUresult pop = cuCtxPopCurrent_v2(&popped);
  actor.say("retain -> {}, push -> {}, {} {} {}, pop -> {} {}, release -> {}", int(retained), int(pushed),
            int(allocated), int(filled), int(freed), int(pop), popped == primary, int(cuDevicePrimaryCtxRelease_v2(0)));
}

void none_current(Actor& actor, Dice&) {
  const CUresult unset = cuCtxSetCurrent(nullptr);
  CUdeviceptr at = 0;
  const CUresult allocated = cuMemAlloc_v2(&at, 4096);
  const CUresult synchronised = cuCtxSynchronize();
  actor.say("-> {}, alloc -> {}, synchronise -> {}, back -> {}", int(unset), int(allocated), int(synchronised),
            int(cuCtxSetCurrent(actor.context)));
}

void ask(Actor& actor, Dice&) {
  unsigned version = 0, flags = 99;
  std::size_t limit = 0;
  int least = 0, greatest = 0;
  CUdevice device = -1;
  const CUresult v = cuCtxGetApiVersion(nullptr, &version), f = cuCtxGetFlags(&flags);
  const CUresult l = cuCtxGetLimit(&limit, CU_LIMIT_STACK_SIZE), p = cuCtxGetStreamPriorityRange(&least, &greatest);
  const CUresult d = cuCtxGetDevice(&device);
  actor.say("-> {} {}, {} {}, {} {}, {} {} {}, {} {}", int(v), version, int(f), flags, int(l), limit, int(p), least,
            greatest, int(d), device);
}

}  // namespace

const std::vector<Operation> context_operations = {{"another context", 2, another_context},
                                                   {"primary context", 2, primary_context},
                                                   {"no context", 1, none_current},
                                                   {"context", 1, ask}};

}  // namespace lull::random

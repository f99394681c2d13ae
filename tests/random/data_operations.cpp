// What computes and copies.
#include <algorithm>

#include "tests/random/actor.h"

namespace lull::random {
namespace {

struct Part {
  CUdeviceptr at;
  std::size_t words, offset;
};

// Some words of a buffer: all, the first half, or anything.
Part some_part(const Buffer& buffer, Dice& dice, std::size_t at_most = SIZE_MAX) {
  const std::size_t words = buffer.bytes / 4;
  std::size_t offset = 0, count = words;
  if (!dice.one_in(3)) {
    offset = dice.below(words);
    count = 1 + dice.below(words - offset);
  }
  count = std::min(count, at_most);
  return {buffer.at + offset * 4, count, offset};
}

void fill(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer) return;
  actor.bring(*buffer, stream);
  const Part part = some_part(*buffer, dice, 1u << 20);
  auto count = static_cast<unsigned>(part.words);
  auto seed = static_cast<unsigned>(dice.next());
  CUdeviceptr at = part.at;
  void* arguments[] = {&at, &count, &seed};
  const unsigned threads = 128, blocks = (count + threads - 1) / threads;
  CUresult result = CUDA_SUCCESS;
  const auto way = dice.below(4);
  if (way == 0) {
    result = cuLaunchKernel(actor.kernels.fill, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, nullptr);
  } else if (way == 1) {
    CUlaunchConfig config{};
    config.gridDimX = blocks, config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = threads, config.blockDimY = config.blockDimZ = 1;
    config.hStream = stream;
    result = cuLaunchKernelEx(&config, actor.kernels.fill, arguments, nullptr);
  } else if (way == 2) {
    result = cuLaunchKernel(reinterpret_cast<CUfunction>(actor.kernels.fill_kernel), blocks, 1, 1, threads, 1, 1, 0,
                            stream, arguments, nullptr);
  } else {
    struct {
      CUdeviceptr at;
      unsigned count, seed;
    } packed{at, count, seed};
    std::size_t bytes = sizeof packed;
    void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    result = cuLaunchKernel(actor.kernels.fill, blocks, 1, 1, threads, 1, 1, 0, stream, nullptr, extra);
  }
  actor.say("fill b{}+{} {} words, way {} -> {}", buffer->number, part.offset, count, way, int(result));
}

void mix(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* a = actor.some_buffer(dice);
  Buffer* b = actor.some_buffer(dice);
  if (!a || a == b) return;
  actor.bring(*a, stream);
  actor.bring(*b, stream);
  auto count = static_cast<unsigned>(std::min({a->bytes / 4, b->bytes / 4, std::size_t{1u << 20}}));
  auto factor = static_cast<unsigned>(dice.next());
  void* arguments[] = {&a->at, &b->at, &count, &factor};
  const CUresult result =
      cuLaunchKernel(actor.kernels.mix, (count + 255) / 256, 1, 1, 256, 1, 1, 0, stream, arguments, nullptr);
  actor.say("mix b{} b{} {} words -> {}", a->number, b->number, count, int(result));
}

void set(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer) return;
  actor.bring(*buffer, stream);
  const Part part = some_part(*buffer, dice);
  const auto value = static_cast<unsigned>(dice.next());
  CUresult result = CUDA_SUCCESS;
  switch (dice.below(4)) {
    case 0: result = cuMemsetD8Async(part.at, static_cast<unsigned char>(value), part.words * 4, stream); break;
    case 1: result = cuMemsetD16Async(part.at, static_cast<unsigned short>(value), part.words * 2, stream); break;
    case 2: result = cuMemsetD2D32Async(part.at, 4 * part.words, value, part.words, 1, stream); break;
    default: result = cuMemsetD32Async(part.at, value, part.words, stream);
  }
  actor.say("set b{}+{} {} words -> {}", buffer->number, part.offset, part.words, int(result));
}

void copy_within(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* from = actor.some_buffer(dice);
  Buffer* to = actor.some_buffer(dice);
  if (!from || from == to) return;
  actor.bring(*from, stream);
  actor.bring(*to, stream);
  const Part source = some_part(*from, dice, to->bytes / 4);
  const bool generic = dice.one_in(3);
  const CUresult result = generic ? cuMemcpyAsync(to->at, source.at, source.words * 4, stream)
                                  : cuMemcpyDtoDAsync_v2(to->at, source.at, source.words * 4, stream);
  actor.say("b{}+{} to b{}, {} words -> {}", from->number, source.offset, to->number, source.words, int(result));
}

void copy_in(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer) return;
  const Part part = some_part(*buffer, dice, host_bytes / 4);
  // Page-locked memory is read later, in the stream: it is written only here, when nothing reads it.
  const bool from_pinned = dice.one_in(2) && !actor.capturing;
  if (from_pinned) (void)cuCtxSynchronize();
  auto* words = reinterpret_cast<unsigned*>(from_pinned ? actor.pinned : actor.host.data());
  const auto seed = static_cast<unsigned>(dice.next());
  const bool synchronous = dice.one_in(4);
  if (actor.capturing) return;  // a graph would read the host's memory at every launch
  actor.bring(*buffer, synchronous ? nullptr : stream);
  for (std::size_t i = 0; i < part.words; ++i) words[i] = seed + static_cast<unsigned>(i);
  const CUresult result = synchronous ? cuMemcpyHtoD_v2(part.at, words, part.words * 4)
                                      : cuMemcpyHtoDAsync_v2(part.at, words, part.words * 4, stream);
  actor.say("host to b{}+{} {} words{} -> {}", buffer->number, part.offset, part.words, from_pinned ? " pinned" : "",
            int(result));
}

void copy_out(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* buffer = actor.some_buffer(dice);
  if (!buffer) return;
  const Part part = some_part(*buffer, dice, host_bytes / 4);
  const bool to_pinned = dice.one_in(2);
  if (actor.capturing) return;
  actor.bring(*buffer, stream);
  void* to = to_pinned ? actor.pinned : actor.host.data();
  (void)cuCtxSynchronize();  // what may still read that memory
  const CUresult result = cuMemcpyDtoHAsync_v2(to, part.at, part.words * 4, stream);
  const CUresult finished = cuStreamSynchronize(stream);
  actor.say("b{}+{} {} words -> {} {}, {:016x}", buffer->number, part.offset, part.words, int(result), int(finished),
            hash(to, part.words * 4));
}

void copy_rows(Actor& actor, Dice& dice, CUstream stream) {
  Buffer* from = actor.some_buffer(dice);
  Buffer* to = actor.some_buffer(dice);
  if (!from || from == to) return;
  const std::size_t smaller = std::min(from->bytes, to->bytes);
  const std::size_t pitch = 4 * dice.between(1, 512), width = 1 + dice.below(pitch), height = smaller / pitch;
  if (!height) return;
  actor.bring(*from, stream);
  actor.bring(*to, stream);
  CUDA_MEMCPY2D copy{};
  copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.srcDevice = from->at, copy.dstDevice = to->at;
  copy.srcPitch = copy.dstPitch = pitch;
  copy.WidthInBytes = width, copy.Height = height;
  actor.say("b{} to b{}, {} of {} x {} -> {}", from->number, to->number, width, pitch, height,
            int(cuMemcpy2DAsync_v2(&copy, stream)));
}

void look(Actor& actor, Dice& dice) {
  Buffer* buffer = actor.some_buffer(dice);
  if (buffer) actor.say("b{} holds {:016x}", buffer->number, actor.contents(*buffer));
}

void work(Actor& actor, Dice& dice) {
  CUstream stream = actor.some_stream(dice);
  for (std::uint64_t n = dice.between(1, 4); n; --n) some_work(actor, dice, stream);
}

}  // namespace

void some_work(Actor& actor, Dice& dice, CUstream stream) {
  switch (dice.below(8)) {
    case 0:
    case 1: return fill(actor, dice, stream);
    case 2: return mix(actor, dice, stream);
    case 3: return set(actor, dice, stream);
    case 4: return copy_within(actor, dice, stream);
    case 5: return copy_in(actor, dice, stream);
    case 6: return copy_rows(actor, dice, stream);
    default: return copy_out(actor, dice, stream);
  }
}

const std::vector<Operation> data_operations = {{"work", 40, work}, {"look", 6, look}};

}  // namespace lull::random

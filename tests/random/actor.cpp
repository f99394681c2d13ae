#include "tests/random/actor.h"

#include <cstring>

#include "tests/random/kernels.h"

namespace lull::random {

std::uint64_t hash(const void* data, std::size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(data);
  std::uint64_t value = 0xcbf29ce484222325ull + bytes;
  for (; bytes >= 8; at += 8, bytes -= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    value = (value ^ word) * 0x9fb21c651e98df25ull;
    value ^= value >> 32;
  }
  for (; bytes; ++at, --bytes) value = (value ^ *at) * 0x100000001b3ull;
  return value;
}

Actor::Actor(CUcontext of, unsigned as_number, bool is_alone) : context(of), number(as_number), alone(is_alone) {
  (void)cuCtxSetCurrent(context);
  (void)cuModuleLoadData(&kernels.module, kernel_text);
  (void)cuModuleGetFunction(&kernels.fill, kernels.module, "fill");
  (void)cuModuleGetFunction(&kernels.mix, kernels.module, "mix");
  (void)cuLibraryLoadData(&kernels.library, kernel_text, nullptr, nullptr, 0, nullptr, nullptr, 0);
  (void)cuLibraryGetKernel(&kernels.fill_kernel, kernels.library, "fill");
  host.resize(host_bytes);
  void* memory = nullptr;
  (void)cuMemHostAlloc(&memory, host_bytes, 0);
  pinned = static_cast<std::byte*>(memory);
}

Actor::~Actor() {
  (void)cuLibraryUnload(kernels.library);
  (void)cuMemFreeHost(pinned);
}

void Actor::begin(unsigned step, const char* operation) {
  step_ = step;
  operation_ = operation;
}

Buffer* Actor::some_buffer(Dice& dice) {
  const std::uint64_t throw_ = dice.next();  // thrown in any case, so that the later throws stay the same
  return buffers.empty() ? nullptr : &buffers[throw_ % buffers.size()];
}

CUstream Actor::some_stream(Dice& dice, unsigned* name) {
  const std::uint64_t throw_ = dice.next();
  const std::size_t chosen = throw_ % (streams.size() + 2);
  if (chosen == streams.size()) return nullptr;
  if (chosen > streams.size()) return CU_STREAM_PER_THREAD;
  if (name) *name = streams[chosen].number;
  return streams[chosen].handle;
}

void Actor::add(CUdeviceptr at, std::size_t bytes, Origin origin) {
  buffers.push_back({next_number(), at, bytes, origin, nullptr});
  Buffer& buffer = buffers.back();
  const CUresult written = cuMemsetD32_v2(at, 0x01010101u * buffer.number, bytes / 4);
  const CUresult finished = cuStreamSynchronize(nullptr);
  if (written || finished) say("first write of b{}: {} {}", buffer.number, int(written), int(finished));
}

void Actor::remove(Buffer* buffer) { buffers.erase(buffers.begin() + (buffer - buffers.data())); }

std::size_t Actor::bytes_held() const {
  std::size_t bytes = 0;
  for (const Buffer& buffer : buffers) bytes += buffer.bytes;
  return bytes;
}

void Actor::bring(Buffer& buffer, CUstream stream) {
  if (buffer.last == stream || capturing) return;
  (void)cuStreamSynchronize(buffer.last);
  buffer.last = stream;
}

std::uint64_t Actor::contents(Buffer& buffer) {
  (void)cuStreamSynchronize(buffer.last);
  std::vector<std::byte> copy(buffer.bytes);
  const CUresult copied = cuMemcpyDtoH_v2(copy.data(), buffer.at, buffer.bytes);
  return copied ? static_cast<std::uint64_t>(copied) : hash(copy.data(), copy.size());
}

}  // namespace lull::random

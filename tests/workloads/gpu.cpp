#include "tests/workloads/gpu.h"

#include <dlfcn.h>
#include <time.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

namespace lull::workload {
namespace {

constexpr std::size_t piece_words = std::size_t{2} << 20;  // 8 MiB a copy

// cuda.h defines most names as macros for their newest form, so the text of the name is taken after expansion.
#define LULL_TEXT_OF(name) #name
#define LULL_TEXT(name) LULL_TEXT_OF(name)

Driver load() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!library) throw std::runtime_error(std::string("no CUDA driver: ") + dlerror());
  Driver d{};
  const auto find = [&](const char* name) {
    void* at = dlsym(library, name);
    if (!at) throw std::runtime_error(std::string("the CUDA driver lacks ") + name);
    return at;
  };
#define X(name) d.name = reinterpret_cast<decltype(d.name)>(find(LULL_TEXT(name)));
  LULL_WORKLOAD_CALLS(X)
#undef X
  return d;
}

}  // namespace

const Driver& driver() {
  static const Driver loaded = load();
  return loaded;
}

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  (void)driver().cuGetErrorName(result, &name);  // without a name the number is said
  throw std::runtime_error(std::string(call) + " failed: " + (name ? name : "error") + " (" + std::to_string(result) +
                           ")");
}

Gpu::Gpu(int number) {
  CU(cuInit(0));
  CU(cuDeviceGet(&device_, number));
  CU(cuDevicePrimaryCtxRetain(&context_, device_));
  make_current();
}
Gpu::~Gpu() { (void)driver().cuDevicePrimaryCtxRelease(device_); }  // the process ends anyway
void Gpu::make_current() const { CU(cuCtxSetCurrent(context_)); }

std::string Gpu::name() const {
  char text[128] = "";
  CU(cuDeviceGetName(text, sizeof text, device_));
  return text;
}

std::size_t Gpu::total_bytes() const {
  std::size_t free_bytes = 0, total = 0;
  CU(cuMemGetInfo(&free_bytes, &total));
  return total;
}

std::size_t Gpu::free_bytes() const {
  std::size_t free_bytes = 0, total = 0;
  CU(cuMemGetInfo(&free_bytes, &total));
  return free_bytes;
}

Module::Module(const char* ptx) { CU(cuModuleLoadData(&module_, ptx)); }
Module::~Module() { (void)driver().cuModuleUnload(module_); }

CUfunction Module::function(const char* name) const {
  CUfunction f = nullptr;
  CU(cuModuleGetFunction(&f, module_, name));
  return f;
}

Stream::Stream(Kind kind) {
  if (kind == Kind::own) CU(cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
}
Stream::~Stream() {
  if (stream_) (void)driver().cuStreamDestroy(stream_);
}

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) { CU(cuMemAlloc(&address_, bytes)); }
Buffer::Buffer(Buffer&& o) noexcept : address_(std::exchange(o.address_, 0)), bytes_(o.bytes_) {}
Buffer::~Buffer() {
  if (address_) (void)driver().cuMemFree(address_);
}

void Buffer::upload(const Fill& fill) {
  std::vector<std::uint32_t> piece(std::min(piece_words, bytes_ / 4));
  for (std::size_t at = 0; at < bytes_ / 4; at += piece.size()) {
    const std::span<std::uint32_t> part{piece.data(), std::min(piece.size(), bytes_ / 4 - at)};
    fill(at, part);
    CU(cuMemcpyHtoD(address_ + at * 4, part.data(), part.size_bytes()));
  }
}

void Buffer::download(const Take& take) const {
  std::vector<std::uint32_t> piece(std::min(piece_words, bytes_ / 4));
  for (std::size_t at = 0; at < bytes_ / 4; at += piece.size()) {
    const std::span<std::uint32_t> part{piece.data(), std::min(piece.size(), bytes_ / 4 - at)};
    CU(cuMemcpyDtoH(part.data(), address_ + at * 4, part.size_bytes()));
    take(part);
  }
}

std::vector<std::size_t> layer_bytes(std::size_t bytes) {
  constexpr std::size_t small[] = {4 << 10, 68 << 10, 1536 << 10, 5 << 20};
  constexpr unsigned percent[] = {40, 30, 20};
  std::vector<std::size_t> sizes;
  std::size_t left = bytes & ~std::size_t{255};
  for (const std::size_t size : small) {
    if (size > left / 16) break;
    sizes.push_back(size);
    left -= size;
  }
  const std::size_t large = left;
  for (const unsigned share : percent) {
    sizes.push_back(large / 100 * share & ~std::size_t{255});
    left -= sizes.back();
  }
  sizes.push_back(left);
  std::erase(sizes, std::size_t{0});
  return sizes;
}

std::uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

std::size_t parse_bytes(const std::string& text) {
  const auto fail = [&](const char* why) { return std::invalid_argument("'" + text + "' " + why); };
  std::size_t end = 0;
  unsigned long long value = 0;
  try {
    value = std::stoull(text, &end);
  } catch (const std::exception&) {
    throw fail("is no size; write 65536, 800M or 1GiB");
  }
  const std::string unit = text.substr(end);
  unsigned shift = 0;
  if (unit == "K" || unit == "KiB") shift = 10;
  if (unit == "M" || unit == "MiB") shift = 20;
  if (unit == "G" || unit == "GiB") shift = 30;
  if (shift == 0 && !unit.empty() && unit != "B") throw fail("has an unknown unit; use K, M or G");
  if (text[0] == '-' || value == 0 || value > (std::numeric_limits<std::size_t>::max() >> shift))
    throw fail("is out of range");
  return static_cast<std::size_t>(value) << shift;
}

}  // namespace lull::workload

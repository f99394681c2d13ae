// tests/workloads/gpu.h: the CUDA Driver API as an ordinary program uses it. Nothing here knows of Lull.
//
// The driver is opened by name at run time, so the same binary runs on a real driver and on the simulated one,
// whichever the loader finds first.
#pragma once
#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace lull::workload {

// Laid out by hand: clang-format is never content with the lines it has made of it.
// clang-format off
#define LULL_WORKLOAD_CALLS(X) \
  X(cuInit) X(cuGetErrorName) X(cuDeviceGet) X(cuDeviceGetName) X(cuDevicePrimaryCtxRetain) \
  X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuCtxSynchronize) X(cuMemGetInfo) X(cuMemAlloc) \
  X(cuMemFree) X(cuMemcpyHtoD) X(cuMemcpyDtoH) X(cuMemsetD32) X(cuModuleLoadData) X(cuModuleUnload) \
  X(cuModuleGetFunction) X(cuLaunchKernel) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize)
// clang-format on

// One member for each call, under the name that cuda.h maps it to: driver().cuMemAlloc is cuMemAlloc_v2.
struct Driver {
#define X(name) decltype(&::name) name;
  LULL_WORKLOAD_CALLS(X)
#undef X
};
const Driver& driver();  // throws when there is none

void check(CUresult, const char* call);  // throws unless it succeeded
#define CU(call) ::lull::workload::check(::lull::workload::driver().call, #call)

// The primary context of a device, current in the thread that made it.
class Gpu {
 public:
  explicit Gpu(int number = 0);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  void make_current() const;  // in another thread
  std::string name() const;
  std::size_t total_bytes() const;
  std::size_t free_bytes() const;

 private:
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
};

class Module {
 public:
  explicit Module(const char* ptx);
  ~Module();
  Module(const Module&) = delete;
  CUfunction function(const char* name) const;

 private:
  CUmodule module_ = nullptr;
};

class Stream {
 public:
  enum class Kind { legacy, own };
  explicit Stream(Kind);
  ~Stream();
  Stream(const Stream&) = delete;
  CUstream get() const { return stream_; }

 private:
  CUstream stream_ = nullptr;
};

// Device memory of whole 32-bit words.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes);
  Buffer(Buffer&&) noexcept;
  ~Buffer();
  CUdeviceptr address() const { return address_; }
  std::size_t bytes() const { return bytes_; }
  std::uint32_t words() const { return static_cast<std::uint32_t>(bytes_ / 4); }

  // Fills it piece by piece: `fill` is given the index of the first word of each.
  using Fill = std::function<void(std::size_t first_word, std::span<std::uint32_t>)>;
  void upload(const Fill&);
  // Reads it piece by piece.
  using Take = std::function<void(std::span<const std::uint32_t>)>;
  void download(const Take&) const;

 private:
  CUdeviceptr address_ = 0;
  std::size_t bytes_;
};

// Sizes of allocations that make up `bytes`: some small ones, one between, and large ones, as a model's layers are.
std::vector<std::size_t> layer_bytes(std::size_t bytes);

// A good mix of 32 bits; the kernels compute the same.
constexpr std::uint32_t mix(std::uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  h ^= h >> 16;
  return h;
}

std::uint64_t now_ns();  // CLOCK_MONOTONIC

// Bytes in people's notation: "800M", "1GiB", "65536". Throws with a sentence.
std::size_t parse_bytes(const std::string& text);

}  // namespace lull::workload

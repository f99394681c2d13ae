// The published interface of NVML, as much of it as is offered here: types, codes, and the state behind the handles.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/driver/card/card.h"

extern "C" {

enum nvmlReturn_t {
  NVML_SUCCESS = 0,
  NVML_ERROR_UNINITIALIZED = 1,
  NVML_ERROR_INVALID_ARGUMENT = 2,
  NVML_ERROR_NOT_SUPPORTED = 3,
  NVML_ERROR_NOT_FOUND = 6,
  NVML_ERROR_INSUFFICIENT_SIZE = 7,
  NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
  NVML_ERROR_UNKNOWN = 999,
};
struct nvmlDevice_st;
using nvmlDevice_t = nvmlDevice_st*;
struct nvmlMemory_t {
  unsigned long long total, free, used;
};
struct nvmlMemory_v2_t {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
struct nvmlProcessInfo_v1_t {
  unsigned pid;
  unsigned long long usedGpuMemory;
};
struct nvmlProcessInfo_v2_t {
  unsigned pid;
  unsigned long long usedGpuMemory;
  unsigned gpuInstanceId, computeInstanceId;
};
struct nvmlUtilization_t {
  unsigned gpu, memory;
};
struct nvmlPciInfo_t {  // version 3
  char busIdLegacy[16];
  unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
  char busId[32];
};

}  // extern "C"

namespace lull::sim {

// A card as NVML sees it, and when it was last asked how busy it is.
struct Gpu {
  std::unique_ptr<Card> card;
  unsigned index = 0;
  std::uint64_t asked_ns = 0;
  Busy busy;
};

struct Library {
  std::mutex mutex;
  int users = 0;
  std::vector<std::unique_ptr<Gpu>> gpus;  // opened by the first init, and kept: handles remain what they were
};
Library& library();

// Calls with the library's state, if it is in use.
template <class F>
nvmlReturn_t with_library(F&& f) {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  return all.users == 0 ? NVML_ERROR_UNINITIALIZED : f(all);
}

// Calls with the card behind a handle, under the library's lock.
template <class F>
nvmlReturn_t with_gpu(nvmlDevice_t handle, F&& f) {
  return with_library([&](Library& all) {
    for (const auto& gpu : all.gpus) {
      if (reinterpret_cast<nvmlDevice_t>(gpu.get()) == handle) return f(*gpu);
    }
    return NVML_ERROR_INVALID_ARGUMENT;
  });
}

// Tells one number of a card.
template <class F>
nvmlReturn_t tell(nvmlDevice_t handle, unsigned* number, F&& f) {
  if (!number) return NVML_ERROR_INVALID_ARGUMENT;
  return with_gpu(handle, [&](Gpu& gpu) {
    *number = static_cast<unsigned>(f(gpu));
    return NVML_SUCCESS;
  });
}

nvmlReturn_t copy_text(const std::string& text, char* to, unsigned length);
inline nvmlDevice_t handle_of(Gpu& gpu) { return reinterpret_cast<nvmlDevice_t>(&gpu); }

}  // namespace lull::sim

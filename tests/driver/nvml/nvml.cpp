// A simulated libnvidia-ml.so.1: the functions with which one looks at cards from outside, on the same files as the
// simulated driver. It takes part in nothing: it opens the cards and holds no memory. Here: beginning and end, what is
// known of the system, and how a card is found.
#include "tests/driver/nvml/nvml.h"

#include <cuda.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/driver/card/clock.h"
#include "tests/driver/card/settings.h"
#include "tests/driver/nvml/identity.h"

namespace lull::sim {

Library& library() {
  static auto& one = *new Library;
  return one;
}

nvmlReturn_t copy_text(const std::string& text, char* to, unsigned length) {
  if (!to) return NVML_ERROR_INVALID_ARGUMENT;
  if (length <= text.size()) return NVML_ERROR_INSUFFICIENT_SIZE;
  std::memcpy(to, text.c_str(), text.size() + 1);
  return NVML_SUCCESS;
}

namespace {

bool open_cards(Library& all) {
  std::string problem = settings().problem;
  for (int i = 0; problem.empty() && i < settings().devices; ++i) {
    const std::string path = settings().pool + (i ? "." + std::to_string(i) : "");
    auto gpu = std::make_unique<Gpu>();
    gpu->index = static_cast<unsigned>(i);
    gpu->card = Card::attach(path, settings().memory_bytes, Role::observer, problem);
    if (!gpu->card) break;
    gpu->busy = gpu->card->busy();
    gpu->asked_ns = now_ns();
    all.gpus.push_back(std::move(gpu));
  }
  if (problem.empty()) return true;
  std::fprintf(stderr, "lull simulated NVML: %s\n", problem.c_str());
  all.gpus.clear();
  return false;
}

nvmlReturn_t start() {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.gpus.empty() && !open_cards(all)) return NVML_ERROR_UNKNOWN;
  ++all.users;
  return NVML_SUCCESS;
}

// The first card that the question is true of.
template <class F>
nvmlReturn_t find(nvmlDevice_t* device, F&& is_it) {
  return with_library([&](Library& all) {
    for (const auto& gpu : all.gpus) {
      if (!is_it(*gpu)) continue;
      *device = handle_of(*gpu);
      return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

std::string name_of_process(unsigned pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/cmdline";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char text[1024] = "";
  const ssize_t n = fd < 0 ? -1 : ::read(fd, text, sizeof text - 1);
  if (fd >= 0) (void)::close(fd);
  return n > 0 ? std::string(text) : std::string();  // its first argument
}

}  // namespace
}  // namespace lull::sim

using namespace lull::sim;  // the exported functions themselves have C names

extern "C" {

nvmlReturn_t nvmlInit() { return start(); }
nvmlReturn_t nvmlInit_v2() { return start(); }
nvmlReturn_t nvmlInitWithFlags(unsigned) { return start(); }

nvmlReturn_t nvmlShutdown() {
  return with_library([](Library& all) {
    --all.users;
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned length) {
  return with_library([&](Library&) { return copy_text("580.00-simulated", version, length); });
}
nvmlReturn_t nvmlSystemGetNVMLVersion(char* version, unsigned length) {
  return with_library([&](Library&) { return copy_text("13.580.00-simulated", version, length); });
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int* version) {
  if (!version) return NVML_ERROR_INVALID_ARGUMENT;
  *version = CUDA_VERSION;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int* version) { return nvmlSystemGetCudaDriverVersion(version); }

nvmlReturn_t nvmlSystemGetProcessName(unsigned pid, char* name, unsigned length) {
  if (!name || length == 0) return NVML_ERROR_INVALID_ARGUMENT;
  return with_library([&](Library&) {
    const std::string found = name_of_process(pid);
    return found.empty() ? NVML_ERROR_NOT_FOUND : copy_text(found, name, length);
  });
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned* count) {
  return with_library([&](Library& all) {
    if (!count) return NVML_ERROR_INVALID_ARGUMENT;
    *count = static_cast<unsigned>(all.gpus.size());
    return NVML_SUCCESS;
  });
}
nvmlReturn_t nvmlDeviceGetCount(unsigned* count) { return nvmlDeviceGetCount_v2(count); }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* device) {
  return with_library([&](Library& all) {
    if (!device || index >= all.gpus.size()) return NVML_ERROR_INVALID_ARGUMENT;
    *device = handle_of(*all.gpus[index]);
    return NVML_SUCCESS;
  });
}
nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t* device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device) {
  if (!uuid || !device) return library().users ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_UNINITIALIZED;
  return find(device, [&](const Gpu& gpu) { return uuid_text(*gpu.card) == uuid; });
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* id, nvmlDevice_t* device) {
  if (!id || !device) return library().users ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_UNINITIALIZED;
  return find(device, [&](const Gpu& gpu) { return is_bus_id(id, gpu.index); });
}
nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char* id, nvmlDevice_t* device) {
  return nvmlDeviceGetHandleByPciBusId_v2(id, device);
}

const char* nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case NVML_SUCCESS: return "success";
    case NVML_ERROR_UNINITIALIZED: return "not initialised: call nvmlInit_v2 first";
    case NVML_ERROR_INVALID_ARGUMENT: return "invalid argument";
    case NVML_ERROR_NOT_SUPPORTED: return "not supported by a simulated card";
    case NVML_ERROR_NOT_FOUND: return "not found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "the space given is too small";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "the version in the structure is another";
    default: return "unknown error";
  }
}

}  // extern "C"

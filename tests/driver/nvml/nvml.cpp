// A simulated libnvidia-ml.so.1: the functions with which one looks at cards from outside, on the same files as the
// simulated driver. It takes part in nothing: it opens the cards and holds no memory. The declarations are NVML's
// published interface, as much of it as is offered here.
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/driver/card/card.h"
#include "tests/driver/card/settings.h"

extern "C" {

enum nvmlReturn_t {
  NVML_SUCCESS = 0,
  NVML_ERROR_UNINITIALIZED = 1,
  NVML_ERROR_INVALID_ARGUMENT = 2,
  NVML_ERROR_NOT_FOUND = 6,
  NVML_ERROR_INSUFFICIENT_SIZE = 7,
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

}  // extern "C"

namespace lull::sim {
namespace {

struct Library {
  std::mutex mutex;
  int users = 0;
  std::vector<std::unique_ptr<Card>> cards;
};
Library& library() {
  static auto& one = *new Library;
  return one;
}

bool open_cards(Library& all) {
  std::string problem = settings().problem;
  for (int i = 0; problem.empty() && i < settings().devices; ++i) {
    const std::string path = settings().pool + (i ? "." + std::to_string(i) : "");
    if (auto card = Card::attach(path, settings().memory_bytes, Role::observer, problem))
      all.cards.push_back(std::move(card));
  }
  if (problem.empty()) return true;
  std::fprintf(stderr, "lull simulated NVML: %s\n", problem.c_str());
  all.cards.clear();
  return false;
}

nvmlReturn_t start() {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.cards.empty() && !open_cards(all)) return NVML_ERROR_UNKNOWN;
  ++all.users;
  return NVML_SUCCESS;
}

std::string uuid_text(const Card& card) {
  std::uint8_t b[16];
  card.uuid(b);
  char text[48];
  std::snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
  return text;
}

nvmlReturn_t copy_text(const std::string& text, char* to, unsigned length) {
  if (!to) return NVML_ERROR_INVALID_ARGUMENT;
  if (length <= text.size()) return NVML_ERROR_INSUFFICIENT_SIZE;
  std::memcpy(to, text.c_str(), text.size() + 1);
  return NVML_SUCCESS;
}

// Calls with the card behind a handle, under the library's lock.
template <class F>
nvmlReturn_t with_card(nvmlDevice_t handle, F&& f) {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.users == 0) return NVML_ERROR_UNINITIALIZED;
  for (const auto& card : all.cards) {
    if (reinterpret_cast<nvmlDevice_t>(card.get()) == handle) return f(*card);
  }
  return NVML_ERROR_INVALID_ARGUMENT;
}

template <class Info>
nvmlReturn_t processes(nvmlDevice_t handle, unsigned* count, Info* infos) {
  if (!count || (*count && !infos)) return NVML_ERROR_INVALID_ARGUMENT;
  return with_card(handle, [&](Card& card) {
    const auto users = card.users();
    const unsigned room = *count;
    *count = static_cast<unsigned>(users.size());
    if (room < users.size()) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (std::size_t i = 0; i < users.size(); ++i) {
      infos[i] = Info{};
      infos[i].pid = static_cast<unsigned>(users[i].pid);
      infos[i].usedGpuMemory = users[i].bytes;
      if constexpr (requires { infos[i].gpuInstanceId; })
        infos[i].gpuInstanceId = infos[i].computeInstanceId = 0xffffffffu;
    }
    return NVML_SUCCESS;
  });
}

}  // namespace
}  // namespace lull::sim

using namespace lull::sim;  // the exported functions themselves have C names

extern "C" {

nvmlReturn_t nvmlInit() { return start(); }
nvmlReturn_t nvmlInit_v2() { return start(); }
nvmlReturn_t nvmlInitWithFlags(unsigned) { return start(); }

nvmlReturn_t nvmlShutdown() {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.users == 0) return NVML_ERROR_UNINITIALIZED;
  --all.users;  // the cards stay open: handles remain what they were
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned* count) {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.users == 0) return NVML_ERROR_UNINITIALIZED;
  if (!count) return NVML_ERROR_INVALID_ARGUMENT;
  *count = static_cast<unsigned>(all.cards.size());
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCount(unsigned* count) { return nvmlDeviceGetCount_v2(count); }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* device) {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.users == 0) return NVML_ERROR_UNINITIALIZED;
  if (!device || index >= all.cards.size()) return NVML_ERROR_INVALID_ARGUMENT;
  *device = reinterpret_cast<nvmlDevice_t>(all.cards[index].get());
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t* device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device) {
  Library& all = library();
  const std::scoped_lock lock(all.mutex);
  if (all.users == 0) return NVML_ERROR_UNINITIALIZED;
  if (!uuid || !device) return NVML_ERROR_INVALID_ARGUMENT;
  for (const auto& card : all.cards) {
    if (uuid_text(*card) != uuid) continue;
    *device = reinterpret_cast<nvmlDevice_t>(card.get());
    return NVML_SUCCESS;
  }
  return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned* index) {
  if (!index) return NVML_ERROR_INVALID_ARGUMENT;
  return with_card(device, [&](const Card& card) {
    *index = 0;
    for (const auto& other : library().cards) {
      if (other.get() == &card) break;
      ++*index;
    }
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned length) {
  return with_card(device, [&](const Card& card) { return copy_text(uuid_text(card), uuid, length); });
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char* name, unsigned length) {
  return with_card(device, [&](const Card&) { return copy_text(settings().card.name, name, length); });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  if (!memory) return NVML_ERROR_INVALID_ARGUMENT;
  return with_card(device, [&](Card& card) {
    const MemoryInfo info = card.memory();
    *memory = {info.total, info.free, info.total - info.free};
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* memory) {
  constexpr unsigned version = static_cast<unsigned>(sizeof(nvmlMemory_v2_t)) | (2u << 24);
  if (!memory || memory->version != version) return NVML_ERROR_INVALID_ARGUMENT;
  return with_card(device, [&](Card& card) {
    const MemoryInfo info = card.memory();
    *memory = {version, info.total, 0, info.free, info.total - info.free};
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t d, unsigned* n, nvmlProcessInfo_v1_t* p) {
  return processes(d, n, p);
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t d, unsigned* n, nvmlProcessInfo_v2_t* p) {
  return processes(d, n, p);
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned* n, nvmlProcessInfo_v2_t* p) {
  return processes(d, n, p);
}

nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned length) {
  return copy_text("580.00-simulated", version, length);
}

const char* nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case NVML_SUCCESS: return "success";
    case NVML_ERROR_UNINITIALIZED: return "not initialised: call nvmlInit_v2 first";
    case NVML_ERROR_INVALID_ARGUMENT: return "invalid argument";
    case NVML_ERROR_NOT_FOUND: return "no such device";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "the space given is too small";
    default: return "unknown error";
  }
}

}  // extern "C"

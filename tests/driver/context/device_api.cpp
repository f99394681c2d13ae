// cuInit and what is known about the devices.
#include <cstdio>
#include <cstring>

#include "tests/driver/card/settings.h"
#include "tests/driver/context/attributes.h"
#include "tests/driver/context/context.h"
#include "tests/driver/faults/control.h"
#include "tests/driver/faults/faults.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"
#include "tests/driver/surface/entry.h"

namespace lull::sim {
namespace {

std::string attach_cards() {
  std::string problem = settings().problem;
  std::vector<std::unique_ptr<Device>> made;
  for (int i = 0; problem.empty() && i < settings().devices; ++i) {
    auto device = std::make_unique<Device>();
    device->ordinal = i;
    device->card = Card::attach(settings().pool + (i ? "." + std::to_string(i) : ""), settings().memory_bytes,
                                Role::user, problem);
    made.push_back(std::move(device));
  }
  if (!problem.empty()) return problem;
  devices() = std::move(made);
  for (auto& device : devices()) {
    device->primary = std::make_shared<Context>(*device, true);
    registry<Context>().add(device->primary);
  }
  install_guard();
  return {};
}

CUresult start() {
  // A second attempt, after something else was wrong, finds the cards attached.
  std::string problem = devices().empty() ? attach_cards() : std::string();
  if (problem.empty()) problem = apply_faults_of_environment();
  if (problem.empty()) problem = start_control();
  if (problem.empty()) return CUDA_SUCCESS;
  std::fprintf(stderr, "lull simulated driver: %s\n", problem.c_str());
  return CUDA_ERROR_UNKNOWN;
}

}  // namespace

namespace api {

CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : become_initialised(start); }

CUresult cuDriverGetVersion(int* version) {
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = CUDA_VERSION;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<int>(devices().size());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  if (!device_of(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int len, CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!name || len <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, static_cast<std::size_t>(len), "%s", settings().card.name.c_str());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!uuid) return CUDA_ERROR_INVALID_VALUE;
  std::uint8_t bytes[16];
  device->card->uuid(bytes);
  std::memcpy(uuid->bytes, bytes, sizeof bytes);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *bytes = device->card->memory().total;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* pi, CUdevice_attribute attribute, CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!pi || attribute <= 0 || attribute >= CU_DEVICE_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
  *pi = attribute_of(dev, attribute);
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice dev) {
  if (const CUresult failed = api::cuDeviceGetAttribute(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, dev))
    return failed;
  return api::cuDeviceGetAttribute(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, dev);
}

CUresult cuDeviceGetPCIBusId(char* id, int len, CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!id || len <= 0) return CUDA_ERROR_INVALID_VALUE;
  const int needed = std::snprintf(id, static_cast<std::size_t>(len), "0000:51:%02x.0", static_cast<unsigned>(dev));
  return needed < len ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetByPCIBusId(CUdevice* dev, const char* id) {
  if (!dev || !id) return CUDA_ERROR_INVALID_VALUE;
  unsigned domain = 0, bus = 0, device = 0;
  const int parts = std::sscanf(id, "%x:%x:%x", &domain, &bus, &device);
  if (parts == 2) device = bus, bus = domain, domain = 0;  // without a domain
  if (parts < 2 || domain != 0 || bus != 0x51 || !device_of(static_cast<int>(device))) return CUDA_ERROR_INVALID_DEVICE;
  *dev = static_cast<int>(device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice dev, CUdevice peer) {
  if (!can) return CUDA_ERROR_INVALID_VALUE;
  if (!device_of(dev) || !device_of(peer)) return CUDA_ERROR_INVALID_DEVICE;
  *can = 0;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** text) {
  if (!text) return CUDA_ERROR_INVALID_VALUE;
  *text = nullptr;
  switch (error) {
#define ERROR(name, words) \
  case name:               \
    *text = #name;         \
    return CUDA_SUCCESS;
#include "tests/driver/surface/errors.inc"
#undef ERROR
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  if (!text) return CUDA_ERROR_INVALID_VALUE;
  *text = nullptr;
  switch (error) {
#define ERROR(name, words) \
  case name:               \
    *text = words;         \
    return CUDA_SUCCESS;
#include "tests/driver/surface/errors.inc"
#undef ERROR
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // namespace api
}  // namespace lull::sim

// What NVML tells of one card.
#include <algorithm>
#include <cstring>

#include "tests/driver/card/clock.h"
#include "tests/driver/card/settings.h"
#include "tests/driver/nvml/identity.h"
#include "tests/driver/nvml/nvml.h"

using namespace lull::sim;  // the exported functions themselves have C names

namespace {

template <class Info>
nvmlReturn_t processes(nvmlDevice_t handle, unsigned* count, Info* infos) {
  if (!count || (*count && !infos)) return NVML_ERROR_INVALID_ARGUMENT;
  return with_gpu(handle, [&](Gpu& gpu) {
    const auto users = gpu.card->users();
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

// Nobody draws on a simulated card.
nvmlReturn_t no_processes(nvmlDevice_t handle, unsigned* count) {
  return tell(handle, count, [](const Gpu&) { return 0; });
}

unsigned percent(std::uint64_t busy_ns, std::uint64_t of_ns) {
  return of_ns == 0 ? 0 : static_cast<unsigned>(std::min<std::uint64_t>(100, busy_ns * 100 / of_ns));
}

}  // namespace

extern "C" {

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned* index) {
  return tell(device, index, [](const Gpu& gpu) { return gpu.index; });
}
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned* minor) {
  return nvmlDeviceGetIndex(device, minor);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned length) {
  return with_gpu(device, [&](const Gpu& gpu) { return copy_text(uuid_text(*gpu.card), uuid, length); });
}
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char* name, unsigned length) {
  return with_gpu(device, [&](const Gpu&) { return copy_text(settings().card.name, name, length); });
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  if (!pci) return NVML_ERROR_INVALID_ARGUMENT;
  return with_gpu(device, [&](const Gpu& gpu) {
    *pci = {};
    pci->bus = pci_bus;
    pci->device = gpu.index;  // vendor's numbers stay 0: it is no vendor's card
    std::strncpy(pci->busIdLegacy, bus_id(gpu.index, false).c_str(), sizeof pci->busIdLegacy - 1);
    std::strncpy(pci->busId, bus_id(gpu.index, true).c_str(), sizeof pci->busId - 1);
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  if (!memory) return NVML_ERROR_INVALID_ARGUMENT;
  return with_gpu(device, [&](Gpu& gpu) {
    const MemoryInfo info = gpu.card->memory();
    *memory = {info.total, info.free, info.total - info.free};
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* memory) {
  constexpr unsigned version = static_cast<unsigned>(sizeof(nvmlMemory_v2_t)) | (2u << 24);
  if (!memory) return NVML_ERROR_INVALID_ARGUMENT;
  if (memory->version != version) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  return with_gpu(device, [&](Gpu& gpu) {
    const MemoryInfo info = gpu.card->memory();
    *memory = {version, info.total, 0, info.free, info.total - info.free};  // the simulator reserves nothing
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
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice_t d, unsigned* n, void*) { return no_processes(d, n); }
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t d, unsigned* n, void*) { return no_processes(d, n); }
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t d, unsigned* n, void*) { return no_processes(d, n); }
nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses(nvmlDevice_t d, unsigned* n, void*) { return no_processes(d, n); }
nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v2(nvmlDevice_t d, unsigned* n, void*) {
  return no_processes(d, n);
}
nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t d, unsigned* n, void*) {
  return no_processes(d, n);
}

// Since it was last asked here: kernels on the compute engine, and copies on the busier of the link's two engines.
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* utilization) {
  if (!utilization) return NVML_ERROR_INVALID_ARGUMENT;
  return with_gpu(device, [&](Gpu& gpu) {
    const Busy busy = gpu.card->busy();
    const std::uint64_t now = now_ns(), passed_ns = now - gpu.asked_ns;
    utilization->gpu = percent(busy.compute_ns - gpu.busy.compute_ns, passed_ns);
    utilization->memory = percent(busy.copies_ns - gpu.busy.copies_ns, passed_ns);
    gpu.busy = busy;
    gpu.asked_ns = now;
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int* major, int* minor) {
  if (!major || !minor) return NVML_ERROR_INVALID_ARGUMENT;
  return with_gpu(device, [&](const Gpu&) {
    *major = settings().card.attribute("COMPUTE_CAPABILITY_MAJOR");
    *minor = settings().card.attribute("COMPUTE_CAPABILITY_MINOR");
    return NVML_SUCCESS;
  });
}

// States of a card that is in none but the usual: default compute mode, no persistence, no display, no second GPU.
nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t d, unsigned* mode) {
  return tell(d, mode, [](const Gpu&) { return 0; });
}
nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t d, unsigned* mode) {
  return tell(d, mode, [](const Gpu&) { return 0; });
}
nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t d, unsigned* mode) {
  return tell(d, mode, [](const Gpu&) { return 0; });
}
nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t d, unsigned* active) {
  return tell(d, active, [](const Gpu&) { return 0; });
}
nvmlReturn_t nvmlDeviceGetMultiGpuBoard(nvmlDevice_t d, unsigned* board) {
  return tell(d, board, [](const Gpu&) { return 0; });
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned* count) {
  return tell(d, count, [](const Gpu&) { return 0; });
}
nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t d, unsigned* is) {
  return tell(d, is, [](const Gpu&) { return 0; });
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t d, unsigned* generation) {
  return tell(d, generation, [](const Gpu&) { return settings().card.link_generation; });
}
nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t d, unsigned* generation) {
  return nvmlDeviceGetCurrPcieLinkGeneration(d, generation);
}
nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t d, unsigned* width) {
  return tell(d, width, [](const Gpu&) { return settings().card.link_width; });
}
nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t d, unsigned* width) {
  return nvmlDeviceGetCurrPcieLinkWidth(d, width);
}

}  // extern "C"

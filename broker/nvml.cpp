#include "broker/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>

namespace lull {

// What NVIDIA's library takes and gives, as documented: nvmlMemory_t and nvmlMemory_v2_t.
namespace nvml {
struct MemoryV1 {
  unsigned long long total, free, used;
};
struct MemoryV2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
// nvmlProcessInfo_t of nvmlDeviceGetComputeRunningProcesses_v3.
struct ProcessV3 {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
// nvmlPciInfo_t of nvmlDeviceGetPciInfo_v3.
struct PciV3 {
  char bus_id_legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};
using ListProcesses = int (*)(void*, unsigned*, ProcessV3*);
}  // namespace nvml

namespace {

using namespace nvml;

constexpr unsigned memory_v2_version = sizeof(MemoryV2) | 2u << 24;
constexpr unsigned long long use_not_told = ~0ull;
constexpr int success = 0, insufficient_size = 7;

template <class F>
void find(void* library, const char* name, F*& function) {
  function = reinterpret_cast<F*>(::dlsym(library, name));
}

std::vector<ProcessV3> list_of(ListProcesses list, void* handle) {
  std::vector<ProcessV3> table(list ? 64 : 0);
  unsigned count = 0;
  int result = list ? insufficient_size : success;
  while (result == insufficient_size && table.size() < 4096) {  // it may grow between two questions
    if (count > table.size()) table.resize(2 * count);
    count = static_cast<unsigned>(table.size());
    result = list(handle, &count, table.data());
  }
  table.resize(result == success ? std::min<std::size_t>(count, table.size()) : 0);
  return table;
}

Nvml::Process process_of(const ProcessV3& entry) {
  const auto used = entry.used == use_not_told ? std::nullopt : std::optional<policy::Bytes>(entry.used);
  return {static_cast<int>(entry.pid), used};
}

}  // namespace

struct Nvml::Functions {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*handle)(unsigned, void**) = nullptr;
  int (*uuid)(void*, char*, unsigned) = nullptr;
  int (*memory)(void*, MemoryV1*) = nullptr;
  int (*memory_v2)(void*, MemoryV2*) = nullptr;              // null before driver 510
  int (*computing)(void*, unsigned*, ProcessV3*) = nullptr;  // null before driver 510
  int (*drawing)(void*, unsigned*, ProcessV3*) = nullptr;    // likewise
  int (*pci)(void*, PciV3*) = nullptr;                       // null in very old drivers
  int (*driver)(char*, unsigned) = nullptr;
  const char* (*error)(int) = nullptr;
};

Nvml::Nvml(void* library) : library_(library), call_(std::make_unique<Functions>()) {
  find(library, "nvmlInit_v2", call_->init);
  find(library, "nvmlShutdown", call_->shutdown);
  find(library, "nvmlDeviceGetCount_v2", call_->count);
  find(library, "nvmlDeviceGetHandleByIndex_v2", call_->handle);
  find(library, "nvmlDeviceGetUUID", call_->uuid);
  find(library, "nvmlDeviceGetMemoryInfo", call_->memory);
  find(library, "nvmlDeviceGetMemoryInfo_v2", call_->memory_v2);
  find(library, "nvmlDeviceGetComputeRunningProcesses_v3", call_->computing);
  find(library, "nvmlDeviceGetGraphicsRunningProcesses_v3", call_->drawing);
  find(library, "nvmlDeviceGetPciInfo_v3", call_->pci);
  find(library, "nvmlSystemGetDriverVersion", call_->driver);
  find(library, "nvmlErrorString", call_->error);
}

std::unique_ptr<Nvml> Nvml::open(std::string* why_not) {
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    *why_not = fmt::format("no NVML ({})", ::dlerror());
    return nullptr;
  }
  std::unique_ptr<Nvml> nvml(new Nvml(library));
  auto& call = *nvml->call_;
  if (!call.init || !call.count || !call.handle || !call.uuid || !call.memory) {
    *why_not = "libnvidia-ml.so.1 lacks functions that every NVML has";
    call.shutdown = nullptr;  // never initialised
    return nullptr;
  }
  if (const int r = call.init(); r != success) {
    *why_not = fmt::format("NVML does not start: {}", call.error ? call.error(r) : "unknown error");
    call.shutdown = nullptr;
    return nullptr;
  }
  unsigned count = 0;
  if (call.count(&count) != success) count = 0;
  for (unsigned i = 0; i < count; ++i) {
    void* handle = nullptr;
    if (call.handle(i, &handle) == success) nvml->handles_.push_back(handle);
  }
  return nvml;
}

Nvml::~Nvml() {
  if (call_->shutdown) (void)call_->shutdown();
  (void)::dlclose(library_);
}

std::optional<Uuid> Nvml::uuid(std::size_t gpu) const {
  char text[96] = {};
  if (call_->uuid(handles_[gpu], text, sizeof text - 1) != success) return std::nullopt;
  return parse_uuid(text);
}

std::optional<Nvml::Memory> Nvml::memory(std::size_t gpu) const {
  MemoryV2 v2{};
  v2.version = memory_v2_version;
  if (call_->memory_v2 && call_->memory_v2(handles_[gpu], &v2) == success && v2.reserved < v2.total)
    return Memory{v2.total - v2.reserved, v2.used};
  MemoryV1 v1{};
  if (call_->memory(handles_[gpu], &v1) != success) return std::nullopt;
  return Memory{v1.total, v1.used};
}

// A card is always function 0.
std::optional<std::string> Nvml::pci_address(std::size_t gpu) const {
  PciV3 pci{};
  if (!call_->pci || call_->pci(handles_[gpu], &pci) != success) return std::nullopt;
  return fmt::format("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device);
}

std::string Nvml::driver_version() const {
  char text[96] = {};
  if (!call_->driver || call_->driver(text, sizeof text - 1) != success) return {};
  return text;
}

std::vector<Nvml::Process> Nvml::processes(std::size_t gpu) const {
  std::vector<Process> found;
  for (const auto& entry : list_of(call_->computing, handles_[gpu])) found.push_back(process_of(entry));
  for (const auto& entry : list_of(call_->drawing, handles_[gpu])) {  // some do both
    const auto listed = [&](const Process& p) { return p.pid == static_cast<int>(entry.pid); };
    if (std::none_of(found.begin(), found.end(), listed)) found.push_back(process_of(entry));
  }
  return found;
}

}  // namespace lull

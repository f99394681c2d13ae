// bpf/loader_none.cpp: the same interface for a Lull built without BPF. load() gives none, so nothing else is reached.
#include "bpf/loader.h"

namespace lull {

struct Arrivals::Kernel {};

std::unique_ptr<Arrivals> Arrivals::load(std::string* why_not, Programs) {
  if (why_not != nullptr) *why_not = "requests are seen only when they reach the GPU: built without BPF";
  return nullptr;
}

Arrivals::Arrivals(std::unique_ptr<Kernel> kernel) : kernel_(std::move(kernel)) {}
Arrivals::~Arrivals() = default;
std::vector<std::string> Arrivals::notes() const { return {}; }
int Arrivals::poll_fd() const { return -1; }
void Arrivals::consume(const std::function<void(const Event&)>&, const std::function<void(const DeviceOpen&)>&) {}
bool Arrivals::watch(std::uint32_t, int, std::string*) { return false; }
bool Arrivals::watch_port(std::uint32_t, std::uint16_t, std::string*) { return false; }
bool Arrivals::watch_cgroup(std::uint32_t, std::uint64_t, std::string*) { return false; }
bool Arrivals::watch_outgoing(std::uint32_t, std::uint16_t, std::string*) { return false; }
void Arrivals::set_filter(std::uint32_t, const Filter&) {}
void Arrivals::watch_exit(int) {}
bool Arrivals::watch_devices(const std::vector<Device>&) { return false; }
void Arrivals::forget(std::uint32_t) {}
Arrivals::Counters Arrivals::counters(std::uint32_t) const { return {}; }
std::vector<std::uint16_t> Arrivals::ports(std::uint32_t) const { return {}; }

}  // namespace lull

// broker/nvml.h: NVIDIA's management library, opened at run time: which GPUs there are, and how full they are.
// Calls may take milliseconds: off the event thread, but for the first look at start.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/policy.h"
#include "broker/uuid.h"

namespace lull {

class Nvml {
 public:
  // Null: not there, or it does not work; *why_not is a sentence.
  static std::unique_ptr<Nvml> open(std::string* why_not);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  struct Memory {
    policy::Bytes total, used;  // without what the driver keeps for itself
  };
  struct Process {
    int pid;
    std::optional<policy::Bytes> used;  // everything it holds on the card, its context included; nothing: not told
  };
  std::size_t count() const { return handles_.size(); }
  std::optional<Uuid> uuid(std::size_t gpu) const;
  std::optional<Memory> memory(std::size_t gpu) const;
  std::optional<std::string> pci_address(std::size_t gpu) const;  // "0000:65:00.0", as in /sys/bus/pci/devices
  std::string driver_version() const;                             // "580.65.06"; empty: not told
  std::vector<Process> processes(std::size_t gpu) const;          // that compute or draw

 private:
  struct Functions;
  explicit Nvml(void* library);
  void* library_;
  std::unique_ptr<Functions> call_;
  std::vector<void*> handles_;
};

}  // namespace lull

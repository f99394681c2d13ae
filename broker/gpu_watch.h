// broker/gpu_watch.h: who has a GPU open, with the shim or without.
//
// Opening the control node alone (nvidiactl, as nvidia-smi and exporters do) makes no holder.
#pragma once
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/loader.h"
#include "broker/policy.h"

namespace lull {

// The character devices of NVIDIA's driver that hold something of a card: from the text of /proc/devices.
std::vector<Device> gpu_devices(std::string_view proc_devices);

struct Holder {
  int pid = 0;
  std::string comm, tenant;  // its container or unit, if it is in one
  bool client = false;       // connected to us
  bool shim = false;         // has the library loaded, connected or not
  policy::Time since = 0;    // 0: it was there before us
  std::set<std::uint32_t> minors;
};

class GpuWatch {
 public:
  // Null: this one was known, or is none. What is read of the process is what /proc says now.
  const Holder* opened(const DeviceOpen&);
  void forget_dead(const std::function<void(const Holder&)>& gone);  // once a second
  const std::map<int, Holder>& holders() const { return holders_; }

 private:
  std::map<int, Holder> holders_;
};

}  // namespace lull

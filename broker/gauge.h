// broker/gauge.h: a thread of ordinary priority that asks what may be slow: NVML for the cards' use, the kernel for
// free host memory. Asked by the event thread, at most once a second; answers come by a descriptor.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "broker/foreign.h"
#include "broker/host_memory.h"
#include "broker/nvml.h"
#include "protocol/fd.h"

namespace lull {

struct CardUse {
  policy::Bytes used;               // in all
  std::vector<Stranger> processes;  // by whom, as far as the driver tells; clients too
  bool steady = false;              // the sum was the same before and after asking by whom

  std::optional<policy::Bytes> of(int pid) const;
};

class Gauge {
 public:
  struct Answer {
    HostMemory host;
    std::vector<std::optional<CardUse>> used;         // of each card; nothing: NVML did not say
    std::vector<std::optional<policy::Bytes>> marks;  // as given to ask()
  };

  Gauge(const Nvml* nvml, std::vector<std::optional<std::size_t>> nvml_index);  // of each card; nvml may be null
  ~Gauge();
  void ask(std::vector<std::optional<policy::Bytes>> marks);
  int fd() const { return answered_.get(); }
  std::optional<Answer> take();

 private:
  void run();
  const Nvml* nvml_;
  std::vector<std::optional<std::size_t>> nvml_index_;
  Fd answered_;
  std::mutex mutex_;
  std::condition_variable asked_;
  bool wanted_ = false, stop_ = false;
  std::vector<std::optional<policy::Bytes>> marks_;
  std::optional<Answer> answer_;
  std::thread thread_;
};

}  // namespace lull

// The limits of a context. Local memory of threads, the printf buffer and the heap of device code are native memory: as
// much of them as the usual limits ask for is part of what a context costs, more is charged when it is asked for.
#pragma once
#include <array>
#include <cstddef>
#include <mutex>

#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

struct Device;

class Limits {
 public:
  explicit Limits(Device& device);
  CUresult set(CUlimit limit, std::size_t value);  // 2 (out of memory): it stays as it was
  CUresult get(CUlimit limit, std::size_t* value) const;
  // A kernel needs that much local memory a thread: the limit rises to it, and stays there.
  CUresult need_stack(std::size_t bytes);
  void reset();  // the context has gone: what was charged is given back

 private:
  std::size_t extra_bytes(CUlimit limit, std::size_t value) const;
  CUresult change(CUlimit limit, std::size_t value);

  Device& device_;
  mutable std::mutex mutex_;
  std::array<std::size_t, CU_LIMIT_MAX> values_;
};

}  // namespace lull::sim

#include "tests/driver/context/limits.h"

#include <algorithm>

#include "tests/driver/context/attributes.h"
#include "tests/driver/memory/memory.h"

namespace lull::sim {
namespace {

constexpr std::size_t largest_stack = 512u << 10;  // of a thread, by the programming guide
constexpr std::size_t stack_unit = 16;
constexpr std::size_t deepest_sync = 24;
constexpr std::size_t largest_fetch = 128;
constexpr std::size_t largest_area = std::size_t{1} << 40;

std::array<std::size_t, CU_LIMIT_MAX> usual_limits() {
  std::array<std::size_t, CU_LIMIT_MAX> limits{};
  limits[CU_LIMIT_STACK_SIZE] = 1024;
  limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1u << 20;
  limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8u << 20;
  limits[CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2;
  limits[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048;
  limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = largest_fetch;
  return limits;
}

// Every thread that can be resident has its local memory all the time.
std::size_t resident_threads(int device) {
  const int threads = attribute_of(device, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
  return static_cast<std::size_t>(attribute_of(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)) *
         static_cast<std::size_t>(threads);
}

}  // namespace

Limits::Limits(Device& device) : device_(device), values_(usual_limits()) {}

std::size_t Limits::extra_bytes(CUlimit limit, std::size_t value) const {
  const std::size_t usual = usual_limits()[limit];
  const std::size_t more = value > usual ? value - usual : 0;
  switch (limit) {
    case CU_LIMIT_STACK_SIZE: return more * resident_threads(device_.ordinal);
    case CU_LIMIT_PRINTF_FIFO_SIZE:
    case CU_LIMIT_MALLOC_HEAP_SIZE: return more;
    default: return 0;
  }
}

// Locked.
CUresult Limits::change(CUlimit limit, std::size_t value) {
  const std::size_t before = extra_bytes(limit, values_[limit]), after = extra_bytes(limit, value);
  if (after > before && !charge_native(device_, after - before)) return CUDA_ERROR_OUT_OF_MEMORY;
  if (after < before) device_.card->refund(before - after);
  values_[limit] = value;
  return CUDA_SUCCESS;
}

CUresult Limits::set(CUlimit limit, std::size_t value) {
  const std::scoped_lock lock(mutex_);
  switch (limit) {
    case CU_LIMIT_STACK_SIZE:
      if (value > largest_stack) return CUDA_ERROR_INVALID_VALUE;
      return change(limit, (value + stack_unit - 1) / stack_unit * stack_unit);
    case CU_LIMIT_PRINTF_FIFO_SIZE:
    case CU_LIMIT_MALLOC_HEAP_SIZE: return value > largest_area ? CUDA_ERROR_INVALID_VALUE : change(limit, value);
    case CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH:
      if (attribute_of(device_.ordinal, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) >= 9)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
      return value > deepest_sync ? CUDA_ERROR_INVALID_VALUE : change(limit, value);
    case CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT: return change(limit, value);
    case CU_LIMIT_MAX_L2_FETCH_GRANULARITY: return change(limit, std::min(value, largest_fetch));
    case CU_LIMIT_PERSISTING_L2_CACHE_SIZE: {
      const int largest = attribute_of(device_.ordinal, CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE);
      return change(limit, std::min(value, static_cast<std::size_t>(largest)));
    }
    default: return CUDA_ERROR_UNSUPPORTED_LIMIT;  // those of contexts made for graphics are only ever read
  }
}

CUresult Limits::get(CUlimit limit, std::size_t* value) const {
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  if (limit < 0 || limit >= CU_LIMIT_MAX) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  const std::scoped_lock lock(mutex_);
  *value = values_[limit];
  return CUDA_SUCCESS;
}

CUresult Limits::need_stack(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  return bytes <= values_[CU_LIMIT_STACK_SIZE] ? CUDA_SUCCESS : change(CU_LIMIT_STACK_SIZE, bytes);
}

void Limits::reset() {
  const std::scoped_lock lock(mutex_);
  for (const CUlimit limit : {CU_LIMIT_STACK_SIZE, CU_LIMIT_PRINTF_FIFO_SIZE, CU_LIMIT_MALLOC_HEAP_SIZE})
    device_.card->refund(extra_bytes(limit, values_[limit]));
  values_ = usual_limits();
}

}  // namespace lull::sim

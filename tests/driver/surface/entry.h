// What every exported function does around its work: refuse (not initialised, forked, process ending, inside a
// callback, an injected fault), make the call, write the journal. The exports themselves are generated.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <new>
#include <type_traits>

#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

enum class When { initialised, any_time };

class Call {
 public:
  explicit Call(std::uint16_t function, When when = When::initialised);
  bool refused() const { return refusal_ != CUDA_SUCCESS; }
  CUresult refusal() { return end(refusal_, 0, 0); }
  CUresult end(CUresult result, std::uint64_t address, std::uint64_t bytes);

 private:
  std::uint16_t function_;
  std::uint64_t start_ns_;  // 0: nobody wants to know. Before the faults: what delays a call belongs to it
  CUresult refusal_;
};
// The exported function that this thread is in; 0xffff: none, as in the threads of streams.
std::uint16_t current_function();

// Stream 0 means this thread's own stream inside the per-thread (_ptsz, _ptds) flavours.
class PerThreadDefault {
 public:
  PerThreadDefault();
  ~PerThreadDefault();
  PerThreadDefault(const PerThreadDefault&) = delete;
  PerThreadDefault& operator=(const PerThreadDefault&) = delete;
  static bool active();

 private:
  bool outer_;
};

// cuInit: makes the process one that uses the driver. In a forked child it never is one.
CUresult become_initialised(CUresult (*start)());
bool initialised();

// Threads that run host functions of a stream may not call the driver.
void enter_callback(bool inside);

// Nothing is thrown through C: out of host memory is the only thing that can be.
template <class F>
CUresult run_guarded(F&& f) noexcept {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
}

// What an absent feature checks before it says that it is absent, see generate.py.
CUresult context_error();
CUresult device_error(CUdevice device);
CUresult stream_error(CUstream stream);
template <class T>
CUresult required(T value) {
  return value ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
inline CUresult first_error(std::initializer_list<CUresult> results) {
  for (const CUresult result : results) {
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

template <class T>
std::uint64_t journal_word(T value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<std::uintptr_t>(value);
  else
    return static_cast<std::uint64_t>(value);
}
template <class T>
std::uint64_t journal_word_at(const T* at) {
  return at ? journal_word(*at) : 0;
}

}  // namespace lull::sim

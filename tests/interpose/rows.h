// hooks.def as the tests see it: each row with a caller that knows the function's type from cuda.h.
#pragma once
#ifndef __CUDA_API_VERSION_INTERNAL
#define __CUDA_API_VERSION_INTERNAL
#endif
#include <cuda.h>
#include <cudaProfiler.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace interpose {

struct Sent {
  std::vector<std::uint64_t> arguments;
  std::vector<unsigned> bytes;  // of each argument
  bool comparable = true;       // false where an argument is a structure or a float
  int result = 0;
};

// Arguments that can be told apart. Pointers lead to zeroes, which every handler may read.
template <typename T>
T mark(std::size_t place, Sent& sent) {
  alignas(64) static char zeroes[16][4096];
  if constexpr (std::is_pointer_v<T>) {
    T value = reinterpret_cast<T>(zeroes[place]);
    sent.arguments.push_back(reinterpret_cast<std::uint64_t>(value));
    sent.bytes.push_back(sizeof value);
    return value;
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    T value = static_cast<T>(0x11 * (place + 1));
    sent.arguments.push_back(static_cast<std::uint64_t>(value));
    sent.bytes.push_back(sizeof value);
    return value;
  } else {
    sent.comparable = false;
    return T{};
  }
}

template <typename F>
struct Caller;

template <typename... Args>
struct Caller<CUresult(Args...)> {
  static Sent call(void* function) {
    return call(reinterpret_cast<CUresult (*)(Args...)>(function), std::index_sequence_for<Args...>());
  }

 private:
  template <std::size_t... places>
  static Sent call(CUresult (*function)(Args...), std::index_sequence<places...>) {
    Sent sent;
    const std::tuple<Args...> marked{mark<Args>(places, sent)...};
    sent.result = static_cast<int>(std::apply(function, marked));
    return sent;
  }
};

struct Row {
  std::string symbol;
  std::string name;
  int since;
  bool per_thread;
  std::string_view handler;
  void* linked;  // as the linker and the loader bind the plain name
  Sent (*call)(void* function);

  bool handled() const { return handler != "pass"; }
  bool retried() const { return handler == "retried"; }
  bool gated() const { return handler == "gated" || handler == "split"; }
};

const std::vector<Row>& rows();

// What cuGetProcAddress has to answer: null if there is no such function at that version.
const Row* expected(std::string_view name, int version, bool per_thread);

}  // namespace interpose

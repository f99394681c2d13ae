// What the cases of shim-test share: this process is the client, its broker is moved by hand.
#pragma once
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tests/shim/fake_broker.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

namespace lull {

extern FakeBroker* broker;
inline constexpr std::size_t mib = 1 << 20;

inline std::vector<std::uint32_t> pattern(std::size_t bytes, std::uint32_t seed) {
  std::vector<std::uint32_t> words(bytes / 4);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint32_t>(i) * 2654435761u + seed;
  return words;
}

struct Buffer {
  CUdeviceptr at = 0;
  std::size_t bytes;
  std::uint32_t seed;
  explicit Buffer(std::size_t size, std::uint32_t s = 1) : bytes(size), seed(s) {
    REQUIRE(cuMemAlloc_v2(&at, bytes) == CUDA_SUCCESS);
  }
  ~Buffer() {
    if (at) CHECK(cuMemFree_v2(at) == CUDA_SUCCESS);
  }
  void fill() { REQUIRE(cuMemcpyHtoD_v2(at, pattern(bytes, seed).data(), bytes / 4 * 4) == CUDA_SUCCESS); }
  bool intact() {
    std::vector<std::uint32_t> words(bytes / 4);
    if (cuMemcpyDtoH_v2(words.data(), at, bytes / 4 * 4) != CUDA_SUCCESS) return false;
    return words == pattern(bytes, seed);
  }
};

}  // namespace lull

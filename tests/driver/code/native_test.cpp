// Kernels that the driver knows by name, against the interpreted text of each.
#include <algorithm>
#include <cstring>
#include <random>

#include "tests/driver/card/clock.h"
#include "tests/driver/code/native_kernels.h"
#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

enum class By { name, text };

// The same text under another name is interpreted.
CUfunction kernel_of(std::string name, By by) {
  std::string text = native_kernels_text;
  if (by == By::text) {
    for (std::size_t at = 0; (at = text.find("lull_sim_", at)) != std::string::npos;) text.replace(at, 9, "the_same_");
    name.replace(0, 9, "the_same_");
  }
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, text.c_str()));
  OK(cuModuleGetFunction(&function, module, name.c_str()));
  return function;
}

CUresult launch_grid(CUfunction f, unsigned blocks, unsigned threads, std::vector<void*> parameters) {
  return cuLaunchKernel(f, blocks, 1, 1, threads, 1, 1, 0, nullptr, parameters.data(), nullptr);
}

constexpr std::size_t words = 3 * 4096;

struct Device {
  explicit Device(std::uint32_t seed) {
    OK(cuMemAlloc_v2(&x, words * 4));
    OK(cuMemAlloc_v2(&y, words * 4));
    std::mt19937 random(seed);
    std::vector<std::uint32_t> bits(words);
    for (const CUdeviceptr to : {x, y}) {
      for (auto& word : bits)
        word = static_cast<std::uint32_t>(random()) & 0xbfffffff;  // as f32: neither infinite nor NaN
      OK(cuMemcpyHtoD_v2(to, bits.data(), words * 4));
    }
  }
  std::vector<std::uint32_t> both() const {
    std::vector<std::uint32_t> all(2 * words);
    OK(cuMemcpyDtoH_v2(all.data(), x, words * 4));
    OK(cuMemcpyDtoH_v2(all.data() + words, y, words * 4));
    return all;
  }
  ~Device() {
    (void)cuMemFree_v2(x);
    (void)cuMemFree_v2(y);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  CUdeviceptr x = 0, y = 0;
};

std::vector<std::uint32_t> result_of(const std::string& name, By by, std::uint64_t n, unsigned blocks) {
  Device d(42);
  float a = 1.7f;
  std::uint32_t value = 0xfeedbeef;
  const CUfunction f = kernel_of(name, by);
  if (name == "lull_sim_fill") OK(launch_grid(f, blocks, 256, {&d.y, &value, &n}));
  if (name == "lull_sim_saxpy") OK(launch_grid(f, blocks, 256, {&a, &d.x, &d.y, &n}));
  if (name == "lull_sim_hash") OK(launch_grid(f, blocks, 256, {&d.x, &d.y, &n}));
  return d.both();
}

}  // namespace

TEST_CASE("a kernel known by name leaves the same bits as its text") {
  const TestContext context;
  for (const char* name : {"lull_sim_fill", "lull_sim_saxpy", "lull_sim_hash"}) {
    for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4999}, std::uint64_t{words}}) {
      for (const unsigned blocks : {1u, 48u}) {  // fewer threads than elements, and as many
        CAPTURE(name);
        CAPTURE(n);
        CAPTURE(blocks);
        const auto native = result_of(name, By::name, n, blocks);
        CHECK(native == result_of(name, By::text, n, blocks));
        CHECK((n == 0) == (native == result_of(name, By::text, 0, 1)));  // and does something
      }
    }
  }
}

TEST_CASE("a kernel known by name faults as its text does") {
  for (const By by : {By::name, By::text}) {
    for (const std::size_t offset : {granule, std::size_t{2}}) {
      const TestContext context;
      CUdeviceptr reserved = 0;
      OK(cuMemAddressReserve(&reserved, 2 * granule, 0, 0, 0));
      const auto memory = create(granule);
      map(reserved, granule, memory);
      CUdeviceptr at = reserved + offset;
      std::uint32_t value = 1;
      std::uint64_t n = 1;
      OK(launch_grid(kernel_of("lull_sim_fill", by), 1, 32, {&at, &value, &n}));
      CHECK_EQ(cuCtxSynchronize(), offset == granule ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_ERROR_MISALIGNED_ADDRESS);
      OK(cuMemUnmap(reserved, granule));
      OK(cuMemRelease(memory));
      OK(cuMemAddressFree(reserved, 2 * granule));
    }
  }
}

TEST_CASE("a kernel known by name is much faster than its text") {
  const TestContext context;
  constexpr std::uint64_t many = 2 << 20;
  CUdeviceptr d = 0, sum = 0;
  OK(cuMemAlloc_v2(&d, many * 4));
  OK(cuMemAlloc_v2(&sum, 8));
  std::uint64_t shortest_ns[2] = {UINT64_MAX, UINT64_MAX}, n = many;
  for (const By by : {By::name, By::text}) {
    const CUfunction f = kernel_of("lull_sim_hash", by);
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t since_ns = now_ns();
      OK(launch_grid(f, many / 256, 256, {&d, &sum, &n}));
      OK(cuCtxSynchronize());
      auto& shortest = shortest_ns[static_cast<int>(by)];
      shortest = std::min(shortest, now_ns() - since_ns);
    }
  }
  CHECK(shortest_ns[0] * 3 < shortest_ns[1]);
  OK(cuMemFree_v2(d));
  OK(cuMemFree_v2(sum));
}

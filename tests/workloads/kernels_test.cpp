#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "tests/workloads/kernels.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/driver/ptx/ptx.h"
#include "tests/workloads/gpu.h"

using namespace lull;

namespace {

// A launch's parameters, laid out as PTX lays them out.
class Parameters {
 public:
  template <class T>
  Parameters& add(T value) {
    bytes_.resize((bytes_.size() + sizeof(T) - 1) / sizeof(T) * sizeof(T) + sizeof(T));
    std::memcpy(bytes_.data() + bytes_.size() - sizeof(T), &value, sizeof(T));
    return *this;
  }
  const std::byte* data() const { return bytes_.data(); }

 private:
  std::vector<std::byte> bytes_;
};

void run(const char* text, const char* name, unsigned blocks, const Parameters& parameters) {
  const auto parsed = ptx::parse(text);
  if (const auto* error = std::get_if<ptx::Error>(&parsed)) FAIL(error->line << ": " << error->message);
  const auto& module = std::get<ptx::Module>(parsed);
  const ptx::Kernel* kernel = module.find(name);
  REQUIRE(kernel);
  ptx::Launch launch;
  launch.grid = {blocks, 1, 1};
  launch.block = {128, 1, 1};
  launch.parameters = parameters.data();
  REQUIRE(ptx::run(module, *kernel, launch) == ptx::Outcome::ok);
}

float uniform(std::uint32_t h) { return static_cast<float>(h >> 8); }

}  // namespace

TEST_CASE("a step of the trainer updates exactly its window, by the formula") {
  constexpr std::uint32_t words = 5000, first = 700, count = 3001, salt = 99, step = 7;
  std::vector<float> weights(words), momentum(words);
  for (std::uint32_t i = 0; i < words; ++i) {
    weights[i] = uniform(workload::mix(i)) * 0x1p-24f - 0.5f;
    momentum[i] = weights[i] / 100;
  }
  auto want_weights = weights, want_momentum = momentum;
  std::uint64_t want[2] = {}, stats[2] = {};
  for (std::uint32_t i = first; i < first + count; ++i) {
    const std::uint32_t h = workload::mix(i ^ salt);
    const float target = std::fma(uniform(h), 0x1p-24f, -0.5f);
    const float noise = std::fma(uniform(h + step * 0x632be5abu), std::bit_cast<float>(0x314ccccdu), -0.025f);
    const float error = want_weights[i] - target;
    want_momentum[i] = std::fma(want_momentum[i], 0.9f, error + noise);
    want_weights[i] = std::fma(want_momentum[i], -0.05f, want_weights[i]);
    want[0] += static_cast<std::uint32_t>(error * error * 0x1p20f);
    want[1] += std::uint64_t{std::bit_cast<std::uint32_t>(want_weights[i])} * (h | 1);
  }
  run(workload::sgd_ptx, "sgd", 3,
      Parameters().add(weights.data()).add(momentum.data()).add(&stats[0]).add(first).add(count).add(salt).add(step));
  CHECK(weights == want_weights);
  CHECK(momentum == want_momentum);
  CHECK(stats[0] == want[0]);
  CHECK(stats[1] == want[1]);
}

TEST_CASE("a forward pass sums its samples") {
  constexpr std::uint32_t words = 10000, first = 3, stride = 7, samples = (words - first + stride - 1) / stride,
                          input = 12345;
  std::vector<std::uint32_t> weights(words);
  for (std::uint32_t i = 0; i < words; ++i) weights[i] = workload::mix(i * 0x9e3779b1u);
  std::uint64_t want = 0, result = 0;
  for (std::uint32_t i = first; i < words; i += stride) want += std::uint64_t{weights[i]} * workload::mix(i ^ input);
  run(workload::forward_ptx, "forward", 2,
      Parameters().add(weights.data()).add(&result).add(first).add(stride).add(samples).add(input));
  CHECK(result == want);
}

TEST_CASE("layers make up the size asked for, large and small") {
  for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{100} << 20, std::size_t{20} << 30}) {
    const auto sizes = workload::layer_bytes(bytes);
    std::size_t sum = 0;
    for (const std::size_t size : sizes) {
      CHECK(size > 0);
      CHECK(size % 256 == 0);
      sum += size;
    }
    CHECK(sum == bytes);
    CHECK(sizes.size() >= 4);
  }
}

TEST_CASE("sizes are read as people write them, and nonsense is refused with a sentence") {
  CHECK(workload::parse_bytes("800M") == std::size_t{800} << 20);
  CHECK(workload::parse_bytes("1GiB") == std::size_t{1} << 30);
  CHECK(workload::parse_bytes("65536") == 65536);
  for (const char* text : {"", "x", "-1", "0", "5T", "99999999999G"}) {
    CAPTURE(text);
    CHECK_THROWS_AS((void)workload::parse_bytes(text), std::invalid_argument);
  }
}

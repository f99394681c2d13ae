// Whole kernels, those of the workloads, against plain C++: bit for bit over a million elements.

#include <cmath>
#include <thread>

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 kElements = (1U << 20) + 77;  // the last block is not full

u32 mixed(u32 h) {
  h = (h ^ (h >> 16)) * 0x85EBCA6BU;
  h = (h ^ (h >> 13)) * 0xC2B2AE35U;
  return h ^ (h >> 16);
}

struct Model {
  std::vector<float> w, v;
};

Model fresh_model() {
  Model model{std::vector<float>(kElements), std::vector<float>(kElements)};
  for (u32 i = 0; i < kElements; ++i) model.w[i] = static_cast<float>(mixed(i) % 1000) / 1000.0F;
  return model;
}

void train_on_host(Model& model, u32 step, float mu, float rate) {
  for (u32 i = 0; i < kElements; ++i) {
    const float g = static_cast<float>(static_cast<std::int32_t>(mixed(i + step * 0x9E3779B1U)) >> 8) * 0x1p-23F;
    model.v[i] = std::fma(mu, model.v[i], g);
    const float change = rate * model.v[i];
    model.w[i] = model.w[i] - change;
  }
}

u64 checksum_on_host(const std::vector<float>& words) {
  u64 sum = 0;
  for (u32 i = 0; i < words.size(); ++i)
    sum += std::rotl(u64{std::bit_cast<u32>(words[i])} * 0x9E3779B97F4A7C15U + i, 27);
  return sum;
}

u64 checksum_on_device(const std::vector<float>& words, unsigned blocks, unsigned threads) {
  u64 sum = 0;
  CHECK(run_text(kChecksum, blocks, threads, words.data(), &sum, static_cast<u32>(words.size())) == Outcome::ok);
  return sum;
}

TEST_CASE("momentum SGD of a million weights has the bits of plain C++, and so has its checksum") {
  Model host = fresh_model(), device = fresh_model();
  for (u32 step = 0; step < 3; ++step) {
    train_on_host(host, step, 0.9F, 0.01F);
    REQUIRE(run_text(kSgd, 40 + step, 256, device.w.data(), device.v.data(), kElements, step, 0.9F, 0.01F) ==
            Outcome::ok);
  }
  CHECK(std::memcmp(host.w.data(), device.w.data(), kElements * sizeof(float)) == 0);
  CHECK(std::memcmp(host.v.data(), device.v.data(), kElements * sizeof(float)) == 0);
  const u64 expected = checksum_on_host(host.w);
  CHECK(checksum_on_device(device.w, 64, 256) == expected);
  CHECK(checksum_on_device(device.w, 3, 32) == expected);
  device.w[kElements - 1] = std::nextafter(device.w[kElements - 1], 10.0F);
  CHECK(checksum_on_device(device.w, 64, 256) != expected);
}

TEST_CASE("saxpy of a million elements rounds once") {
  std::vector<float> x(kElements), y(kElements), expected(kElements);
  for (u32 i = 0; i < kElements; ++i) {
    x[i] = static_cast<float>(mixed(i)) * 1e-3F;
    y[i] = static_cast<float>(mixed(~i)) * -1e-3F;
    expected[i] = std::fma(1.1F, x[i], y[i]);
  }
  REQUIRE(run_text(kSaxpy, (kElements + 255) / 256, 256, x.data(), y.data(), 1.1F, kElements) == Outcome::ok);
  CHECK(y == expected);
}

TEST_CASE("every thread hashes its chunk into 128 bits") {
  constexpr u32 kChunks = 1000, kWords = 128;
  std::vector<u64> data(kChunks * kWords), out(kChunks * 2);
  Random random(5);
  for (u64& word : data) word = random.next();
  REQUIRE(run_text(kHash, 5, 224, data.data(), out.data(), kChunks) == Outcome::ok);
  for (u32 chunk = 0; chunk < kChunks; ++chunk) {
    u64 a = 0x9E3779B97F4A7C15U, b = 0xC2B2AE3D27D4EB4FU;
    for (u32 i = 0; i < kWords; i += 2) {
      a = std::rotl((a ^ data[chunk * kWords + i]) * 0x87C37B91114253D5U, 31) + b;
      b = std::rotl((b ^ data[chunk * kWords + i + 1]) * 0x4CF5AD432745937FU, 27) + a;
    }
    REQUIRE(out[chunk * 2] == a);
    REQUIRE(out[chunk * 2 + 1] == b);
  }
}

constexpr std::string_view kSumOfReals = R"(
.entry sum(.param .u64 in_, .param .u64 out_) {
  .reg .pred %p; .reg .f32 %f<3>; .reg .b32 %r<5>; .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [in_]; ld.param.u64 %rd2, [out_];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.u32 %r4, %r1, %r2, %r3;
  mul.wide.u32 %rd3, %r4, 4; add.u64 %rd3, %rd1, %rd3; ld.global.f32 %f1, [%rd3];
  setp.gt.f32 %p, %f1, 0f00000000;
  @%p atom.global.add.f32 %f2, [%rd2], %f1;
})";

TEST_CASE("sums of reals by atomics are the same in every run and on every thread") {
  constexpr unsigned kBlocks = 64, kThreads = 256;
  std::vector<float> in(kBlocks * kThreads);
  Random random(3);
  float expected = 0;
  for (float& value : in) {
    value = static_cast<float>(static_cast<std::int64_t>(random.next())) * 1e-12F;
    if (value > 0) expected += value;
  }
  const Module module = module_of(kSumOfReals);
  const auto sum = [&] {
    float out = 0;
    const Arguments flat(in.data(), &out);
    const Outcome outcome =
        run(module, module.kernels[0], {.grid = {kBlocks, 1, 1}, .block = {kThreads, 1, 1}, .parameters = flat.data()});
    return outcome == Outcome::ok ? out : -1.0F;
  };
  std::array<float, 4> sums{};
  std::vector<std::thread> threads;
  for (float& out : sums) threads.emplace_back([&] { out = sum(); });
  for (std::thread& thread : threads) thread.join();
  for (const float out : sums) CHECK(out == expected);  // in the order of blocks and threads
}

}  // namespace
}  // namespace lull::ptx::test

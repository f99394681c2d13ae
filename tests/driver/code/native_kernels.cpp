#include "tests/driver/code/native_kernels.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

namespace lull::sim {
namespace {

using ptx::Outcome;

constexpr std::uint64_t piece = 64 * 1024;  // elements between two looks at `stop`

template <class T>
T parameter(const ptx::Kernel& kernel, const ptx::Launch& launch, std::size_t index) {
  T value;
  std::memcpy(&value, launch.parameters + kernel.parameters[index].offset, sizeof value);
  return value;
}

template <class T>
bool misaligned(const T* at) {
  return reinterpret_cast<std::uintptr_t>(at) % sizeof(T) != 0;
}

// Calls work(first, last) for all of the elements in pieces.
template <class F>
Outcome in_pieces(std::uint64_t elements, const ptx::Launch& launch, F&& work) {
  for (std::uint64_t first = 0; first < elements; first += piece) {
    work(first, std::min(elements, first + piece));
    if (launch.breathe) launch.breathe(launch.breather);
    if (launch.stop && *launch.stop) return Outcome::stopped;
  }
  return Outcome::ok;
}

std::uint64_t elements_of(std::uint64_t n, const ptx::Launch& launch) {
  return std::min(n, std::uint64_t{launch.grid[0]} * launch.block[0]);
}

Outcome fill(const ptx::Kernel& kernel, const ptx::Launch& launch) {
  auto* const words = parameter<std::uint32_t*>(kernel, launch, 0);
  const auto value = parameter<std::uint32_t>(kernel, launch, 1);
  const auto n = elements_of(parameter<std::uint64_t>(kernel, launch, 2), launch);
  if (n > 0 && misaligned(words)) return Outcome::misaligned;
  return in_pieces(n, launch,
                   [&](std::uint64_t from, std::uint64_t to) { std::fill(words + from, words + to, value); });
}

Outcome saxpy(const ptx::Kernel& kernel, const ptx::Launch& launch) {
  const auto a = parameter<float>(kernel, launch, 0);
  const auto* const x = parameter<const float*>(kernel, launch, 1);
  auto* const y = parameter<float*>(kernel, launch, 2);
  const auto n = elements_of(parameter<std::uint64_t>(kernel, launch, 3), launch);
  if (n > 0 && (misaligned(x) || misaligned(y))) return Outcome::misaligned;
  return in_pieces(n, launch, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t i = from; i < to; ++i) y[i] = std::fma(a, x[i], y[i]);
  });
}

std::uint64_t mix(std::uint32_t word, std::uint64_t i) {
  std::uint64_t z = word + (i + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

Outcome hash(const ptx::Kernel& kernel, const ptx::Launch& launch) {
  const auto* const words = parameter<const std::uint32_t*>(kernel, launch, 0);
  auto* const out = parameter<std::uint64_t*>(kernel, launch, 1);
  const auto n = elements_of(parameter<std::uint64_t>(kernel, launch, 2), launch);
  if (n > 0 && (misaligned(words) || misaligned(out))) return Outcome::misaligned;
  return in_pieces(n, launch, [&](std::uint64_t from, std::uint64_t to) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = from; i < to; ++i) sum += mix(words[i], i);
    std::atomic_ref(*out).fetch_add(sum, std::memory_order_relaxed);  // other kernels may add to it meanwhile
  });
}

std::uint64_t key_at(std::uint64_t seed, std::uint64_t position) {
  std::uint64_t z = seed + position * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

__extension__ using Product = unsigned __int128;

// Every block has sums of its own, over the pairs of its threads.
struct Sums {
  std::uint64_t low = 0, high = 0, any = 0;
  void add(std::uint64_t a, std::uint64_t b, std::uint64_t seed, std::uint64_t i) {
    const auto product = static_cast<Product>(a + key_at(seed, 2 * i)) * (b + key_at(seed, 2 * i + 1));
    low += static_cast<std::uint64_t>(product);
    high += static_cast<std::uint64_t>(product >> 64);
    any |= a | b;
  }
};

Outcome chunk_hash(const ptx::Kernel& kernel, const ptx::Launch& launch) {
  const auto* const words = parameter<const std::uint64_t*>(kernel, launch, 0);
  const auto pairs = parameter<std::uint64_t>(kernel, launch, 1), seed = parameter<std::uint64_t>(kernel, launch, 2);
  auto* const results = parameter<std::uint64_t*>(kernel, launch, 3);
  if (reinterpret_cast<std::uintptr_t>(words) % 16 != 0 || reinterpret_cast<std::uintptr_t>(results) % 16 != 0)
    return Outcome::misaligned;
  std::vector<Sums> blocks(launch.grid[0]);
  const Outcome outcome = in_pieces(pairs, launch, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t i = from; i < to;) {
      const std::uint64_t end = std::min(to, (i / launch.block[0] + 1) * launch.block[0]);
      Sums& sums = blocks[i / launch.block[0] % blocks.size()];
      for (; i < end; ++i) sums.add(words[2 * i], words[2 * i + 1], seed, i);
    }
  });
  for (std::size_t i = 0; i < blocks.size() && outcome == Outcome::ok; ++i) {
    results[4 * i] = blocks[i].low;
    results[4 * i + 1] = blocks[i].high;
    results[4 * i + 2] = blocks[i].any;
  }
  return outcome;
}

struct Native {
  std::string_view name;
  std::array<std::size_t, 4> sizes;  // of its parameters; 0: no more
  Outcome (*run)(const ptx::Kernel&, const ptx::Launch&);
};
constexpr Native natives[] = {{"lull_sim_fill", {8, 4, 8, 0}, fill},
                              {"lull_sim_saxpy", {4, 8, 8, 8}, saxpy},
                              {"lull_sim_hash", {8, 8, 8, 0}, hash},
                              {"lull_hash", {8, 8, 8, 8}, chunk_hash}};

bool fits(const ptx::Kernel& kernel, const Native& native) {
  if (kernel.name != native.name || kernel.parameters.size() > native.sizes.size()) return false;
  for (std::size_t i = 0; i < native.sizes.size(); ++i) {
    const std::size_t size = i < kernel.parameters.size() ? kernel.parameters[i].size : 0;
    if (size != native.sizes[i]) return false;
  }
  return true;
}

}  // namespace

std::optional<Outcome> run_native(const ptx::Kernel& kernel, const ptx::Launch& launch) {
  const bool flat = launch.grid[1] == 1 && launch.grid[2] == 1 && launch.block[1] == 1 && launch.block[2] == 1;
  if (!flat || launch.cooperative || !kernel.name.starts_with("lull_")) return {};
  const auto* const native = std::ranges::find_if(natives, [&](const Native& one) { return fits(kernel, one); });
  if (native == std::end(natives)) return {};
  return native->run(kernel, launch);
}

}  // namespace lull::sim

// The hash of chunks (shim/hash_kernel.h) against its formula, written down a second time.
#include <random>

#include "shim/hash_kernel.h"
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

__extension__ using Product = unsigned __int128;
using Pairs = std::vector<std::uint64_t>;  // two words each

constexpr std::uint64_t seed = 0x1234'5678'9abc'def1;

struct Answer {
  std::uint64_t low = 0, high = 0;
  bool zero = true;
  bool operator==(const Answer&) const = default;
};

std::uint64_t splitmix64(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::uint64_t key(std::uint64_t position) { return splitmix64(seed + position * 0x9e3779b97f4a7c15); }

Answer by_formula(const Pairs& words) {
  Answer answer;
  for (std::uint64_t i = 0; i < words.size(); i += 2) {
    const Product product = static_cast<Product>(words[i] + key(i)) * (words[i + 1] + key(i + 1));
    answer.low += static_cast<std::uint64_t>(product);
    answer.high += static_cast<std::uint64_t>(product >> 64);
    if (words[i] || words[i + 1]) answer.zero = false;
  }
  return answer;
}

// As the simulator knows it by name, or with its text interpreted, which is what a card compiles.
enum class By { name, text };

CUfunction kernel(By by) {
  (void)context();
  std::string text = hash_kernel_text, name = hash_kernel_name;
  if (by == By::text) {
    text.replace(text.find(name), name.size(), "the_same");
    name = "the_same";
  }
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, text.c_str()));
  OK(cuModuleGetFunction(&function, module, name.c_str()));
  return function;
}

struct OnCard {
  CUdeviceptr data = 0, results = 0;
  explicit OnCard(std::size_t most_bytes) {
    (void)context();
    OK(cuMemAlloc_v2(&data, most_bytes));
    OK(cuMemAlloc_v2(&results, hash_most_blocks * hash_result_words * 8));
  }
  ~OnCard() {
    (void)cuMemFree_v2(data);
    (void)cuMemFree_v2(results);
  }
  OnCard(const OnCard&) = delete;
  OnCard& operator=(const OnCard&) = delete;

  // `most_blocks` 1: one block's threads go over it many times.
  Answer operator()(CUfunction function, const Pairs& words, unsigned most_blocks = hash_most_blocks) {
    OK(cuMemcpyHtoD_v2(data, words.data(), words.size() * 8));
    OK(cuMemsetD8_v2(results, 0xee, hash_most_blocks * hash_result_words * 8));
    std::uint64_t pairs = words.size() / 2, the_seed = seed;
    const auto wanted = static_cast<unsigned>((pairs + hash_threads - 1) / hash_threads);
    const unsigned blocks = wanted < most_blocks ? wanted : most_blocks;
    void* arguments[] = {&data, &pairs, &the_seed, &results};
    OK(cuLaunchKernel(function, blocks, 1, 1, hash_threads, 1, 1, 0, nullptr, arguments, nullptr));
    std::vector<std::uint64_t> sums(blocks * hash_result_words);
    OK(cuMemcpyDtoH_v2(sums.data(), results, sums.size() * 8));
    Answer answer;
    for (unsigned i = 0; i < blocks; ++i) {
      answer.low += sums[i * hash_result_words];
      answer.high += sums[i * hash_result_words + 1];
      answer.zero &= sums[i * hash_result_words + 2] == 0;
    }
    return answer;
  }
};

Pairs random_pairs(std::size_t bytes) {
  std::mt19937_64 random(bytes);
  Pairs words(bytes / 8);
  for (auto& word : words) word = random();
  return words;
}

}  // namespace

ALONE("the hash of a chunk is what its formula says, whatever its size") {
  OnCard hash(chunk + 16);
  for (const By by : {By::name, By::text})
    for (const std::size_t bytes :
         {std::size_t{16}, std::size_t{48}, std::size_t{4096 - 16}, std::size_t{256 * 16 + 16}, chunk, chunk + 16}) {
      CAPTURE(bytes);
      CAPTURE(static_cast<int>(by));
      const Pairs words = random_pairs(bytes);
      CHECK(hash(kernel(by), words) == by_formula(words));
    }
}

ALONE("the hash is the same when threads take many pairs each") {
  OnCard hash(chunk);
  const Pairs words = random_pairs(256 * 16 * 5 + 16 * 7);
  for (const By by : {By::name, By::text})
    for (const unsigned blocks : {1u, 2u, 3u}) CHECK(hash(kernel(by), words, blocks) == by_formula(words));
}

ALONE("every change of a single bit changes the hash") {
  OnCard hash(4096);
  const CUfunction text = kernel(By::text), name = kernel(By::name);
  Pairs words = random_pairs(4096);
  const Answer before = hash(text, words);
  for (std::size_t bit = 0; bit < 4096 * 8; bit += bit < 256 ? 1 : 131) {  // all of two pairs, some of every pair
    words[bit / 64] ^= 1ull << bit % 64;
    const Answer changed = hash(name, words);
    REQUIRE(changed != before);
    REQUIRE(changed == by_formula(words));
    words[bit / 64] ^= 1ull << bit % 64;
  }
  CHECK(hash(text, words) == before);
}

ALONE("two words that change places change the hash") {
  OnCard hash(4096);
  const CUfunction text = kernel(By::text);
  Pairs words = random_pairs(4096);
  const Answer before = hash(text, words);
  for (const auto& [a, b] : {std::pair{0, 1}, {0, 2}, {1, 2}, {1, 3}, {0, 511}, {254, 256}}) {
    std::swap(words[a], words[b]);
    CHECK(hash(text, words) != before);
    std::swap(words[a], words[b]);
  }
}

ALONE("zero content is known as such, and nothing else is") {
  OnCard hash(chunk);
  for (const By by : {By::name, By::text}) {
    const CUfunction function = kernel(by);
    for (const std::size_t bytes : {std::size_t{16}, std::size_t{4096 + 16}, std::size_t{256 * 1024}}) {
      Pairs words(bytes / 8);
      CHECK(hash(function, words).zero);
      for (const std::size_t at : {std::size_t{0}, words.size() / 2, words.size() - 1})
        for (const int bit : {0, 63}) {
          words[at] = 1ull << bit;
          CHECK_FALSE(hash(function, words).zero);
          words[at] = 0;
        }
    }
  }
}

}  // namespace lull::residency_test

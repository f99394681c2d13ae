// The sum that tells what a disk gives back from what was written there.
#include "protocol/checksum.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

using namespace lull;

namespace {

std::vector<std::byte> random_content(std::size_t blocks) {
  std::mt19937_64 random(blocks);
  std::vector<std::byte> content(blocks * sum_block);
  for (std::size_t at = 0; at < content.size(); at += 8) {
    const std::uint64_t word = random();
    std::memcpy(&content[at], &word, sizeof word);
  }
  return content;
}

Sum sum(const std::vector<std::byte>& content) { return sum_of(content.data(), content.size()); }

}  // namespace

TEST_CASE("every bit that is wrong changes the sum of a block") {
  auto content = random_content(1);
  const Sum right = sum_of_block(content.data(), 0);
  for (std::size_t bit = 0; bit < sum_block * 8; bit += bit < 512 ? 1 : 1'048'583) {
    content[bit / 8] ^= std::byte(1 << bit % 8);
    const Sum wrong = sum_of_block(content.data(), 0);
    CHECK(wrong.low != right.low);
    CHECK(wrong.high != right.high);
    content[bit / 8] ^= std::byte(1 << bit % 8);
  }
  CHECK(sum_of_block(content.data(), 0) == right);
}

TEST_CASE("blocks that change places, are missing or are zero change the sum") {
  auto content = random_content(3);
  const Sum right = sum(content);
  auto other = content;
  std::swap_ranges(other.begin(), other.begin() + sum_block, other.begin() + sum_block);
  CHECK_FALSE(sum(other) == right);
  other = content;
  std::fill(other.end() - sum_block, other.end(), std::byte{});
  CHECK_FALSE(sum(other) == right);
  CHECK_FALSE(sum_of(content.data(), 2 * sum_block) == right);
}

TEST_CASE("words and lanes that change places change the sum") {
  auto content = random_content(1);
  const Sum right = sum(content);
  for (const std::size_t other : {8u, 32u, 4096u}) {
    std::swap_ranges(content.begin(), content.begin() + 8, content.begin() + static_cast<std::ptrdiff_t>(other));
    CHECK_FALSE(sum(content) == right);
    std::swap_ranges(content.begin(), content.begin() + 8, content.begin() + static_cast<std::ptrdiff_t>(other));
  }
}

// protocol/checksum.h: 128 bits over an arena's content, to tell what a disk gives back from what was written there.
//
// It finds what disks, links and truncated files do; it is no defence against somebody who aims at a collision, who
// could only harm data of his own. The content is summed in blocks, in any order and by any number of threads: the sum
// of an arena is the sum of its blocks', each mixed with its number.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lull {

struct Sum {
  std::uint64_t low = 0, high = 0;
  bool operator==(const Sum&) const = default;
  Sum& operator+=(const Sum& o) {
    low += o.low;
    high += o.high;
    return *this;
  }
};

inline constexpr std::size_t sum_block = 2u << 20;  // every arena is whole blocks

namespace sums {

// Murmur's finaliser: every bit of the input decides about every bit of the result.
constexpr std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

}  // namespace sums

// Of sum_block bytes. Four lanes, so that the multiplications need not wait for one another.
inline Sum sum_of_block(const std::byte* block, std::uint64_t number) {
  std::uint64_t lane[4] = {number, ~number, number + 0x9e3779b97f4a7c15ull, 1};
  for (std::size_t at = 0; at < sum_block; at += sizeof lane)
    for (std::size_t i = 0; i < 4; ++i) {
      std::uint64_t word;
      std::memcpy(&word, block + at + i * sizeof word, sizeof word);
      // A bijection of the lane for each word, and of the word for each lane: one changed word always changes the lane.
      lane[i] = ((lane[i] ^ word) << 29 | (lane[i] ^ word) >> 35) * 0xd6e8feb86659fd93ull;
    }
  const std::uint64_t a = sums::mixed(lane[0]) + sums::mixed(lane[1] + 1), b = sums::mixed(lane[2]) ^ lane[3];
  return {sums::mixed(a ^ sums::mixed(number + 7)) + sums::mixed(b), sums::mixed(b + number) ^ a};
}

inline Sum sum_of(const std::byte* content, std::uint64_t bytes) {
  Sum sum;
  for (std::uint64_t at = 0; at < bytes; at += sum_block) sum += sum_of_block(content + at, at / sum_block);
  return sum;
}

}  // namespace lull

// shim/hash_kernel.h: what tells unchanged memory from changed, and a good restore from a bad one.
//
// A keyed sum over pairs of 64-bit words, after the NH function of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway:
// "UMAC: Fast and Secure Message Authentication", CRYPTO '99):
//
//   pair i = (a, b), keys k(2i), k(2i+1):   product = (a + k(2i)) * (b + k(2i+1)), 128 bits
//   hash = (sum of the products' low halves, sum of their high halves), each mod 2^64
//
// The keys are splitmix64(seed + position), the seed is random in each process. For keys as good as random, two
// different contents of the same length have the same hash with a probability of at most 2^-63: with all keys fixed but
// the second one of a pair whose first word differs, equal sums leave at most two values for the difference of that
// pair's products, and the difference is linear in that key with a coefficient that is not 0 (the same with the words'
// roles exchanged). docs/residency.md says what that means for a year of switching.
//
// Sums do not care for order, so every thread takes every n-th pair and reads are coalesced; 16 bytes cost some 30
// instructions, which is less than the memory takes to bring them. The third word is zero exactly if the content is.
#pragma once

namespace lull {

inline constexpr unsigned hash_threads = 256;       // a block's; a power of two
inline constexpr unsigned hash_most_blocks = 1024;  // enough to fill every card there is
inline constexpr unsigned hash_result_words = 4;    // of a block: low, high, all words or'ed together, unused

inline constexpr const char* hash_kernel_name = "lull_hash";
inline constexpr const char* hash_kernel_text = R"(
.version 6.0
.target sm_50
.address_size 64

.visible .entry lull_hash(.param .u64 data, .param .u64 pairs, .param .u64 seed, .param .u64 results)
{
  .reg .pred %p;
  .reg .b32 %r<8>;
  .reg .b64 %at, %i, %pairs, %stride, %key, %other, %shifted, %a, %b, %low, %high, %any, %half, %data, %seed;
  .shared .align 8 .b64 lows[256];
  .shared .align 8 .b64 highs[256];
  .shared .align 8 .b64 anys[256];

  ld.param.u64 %data, [data];
  ld.param.u64 %pairs, [pairs];
  ld.param.u64 %seed, [seed];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %nctaid.x;
  cvt.u64.u32 %i, %r0;
  mad.wide.u32 %i, %r1, %r2, %i;
  mul.wide.u32 %stride, %r2, %r3;
  mov.u64 %low, 0;
  mov.u64 %high, 0;
  mov.u64 %any, 0;
  setp.ge.u64 %p, %i, %pairs;
  @%p bra add_up;

next:
  shl.b64 %at, %i, 4;
  add.u64 %at, %data, %at;
  ld.global.v2.u64 {%a, %b}, [%at];

  mad.lo.u64 %key, %i, 0x3c6ef372fe94f82a, %seed;
  add.u64 %other, %key, 0x9e3779b97f4a7c15;
  shr.u64 %shifted, %key, 30;
  xor.b64 %key, %key, %shifted;
  mul.lo.u64 %key, %key, 0xbf58476d1ce4e5b9;
  shr.u64 %shifted, %key, 27;
  xor.b64 %key, %key, %shifted;
  mul.lo.u64 %key, %key, 0x94d049bb133111eb;
  shr.u64 %shifted, %key, 31;
  xor.b64 %key, %key, %shifted;
  shr.u64 %shifted, %other, 30;
  xor.b64 %other, %other, %shifted;
  mul.lo.u64 %other, %other, 0xbf58476d1ce4e5b9;
  shr.u64 %shifted, %other, 27;
  xor.b64 %other, %other, %shifted;
  mul.lo.u64 %other, %other, 0x94d049bb133111eb;
  shr.u64 %shifted, %other, 31;
  xor.b64 %other, %other, %shifted;

  or.b64 %any, %any, %a;
  or.b64 %any, %any, %b;
  add.u64 %a, %a, %key;
  add.u64 %b, %b, %other;
  mul.lo.u64 %half, %a, %b;
  add.u64 %low, %low, %half;
  mul.hi.u64 %half, %a, %b;
  add.u64 %high, %high, %half;

  add.u64 %i, %i, %stride;
  setp.lt.u64 %p, %i, %pairs;
  @%p bra next;

add_up:
  shl.b32 %r4, %r0, 3;
  mov.u32 %r5, lows;
  add.u32 %r5, %r5, %r4;
  mov.u32 %r6, highs;
  add.u32 %r6, %r6, %r4;
  mov.u32 %r7, anys;
  add.u32 %r7, %r7, %r4;
  st.shared.u64 [%r5], %low;
  st.shared.u64 [%r6], %high;
  st.shared.u64 [%r7], %any;

halve:
  shr.u32 %r2, %r2, 1;
  bar.sync 0;
  setp.ge.u32 %p, %r0, %r2;
  @%p bra halved;
  shl.b32 %r3, %r2, 3;
  add.u32 %r4, %r5, %r3;
  ld.shared.u64 %a, [%r4];
  add.u64 %low, %low, %a;
  st.shared.u64 [%r5], %low;
  add.u32 %r4, %r6, %r3;
  ld.shared.u64 %a, [%r4];
  add.u64 %high, %high, %a;
  st.shared.u64 [%r6], %high;
  add.u32 %r4, %r7, %r3;
  ld.shared.u64 %a, [%r4];
  or.b64 %any, %any, %a;
  st.shared.u64 [%r7], %any;
halved:
  setp.gt.u32 %p, %r2, 1;
  @%p bra halve;

  setp.ne.u32 %p, %r0, 0;
  @%p bra done;
  ld.param.u64 %at, [results];
  cvt.u64.u32 %i, %r1;
  shl.b64 %i, %i, 5;
  add.u64 %at, %at, %i;
  st.global.v2.u64 [%at], {%low, %high};
  st.global.u64 [%at+16], %any;
done:
  ret;
}
)";

}  // namespace lull

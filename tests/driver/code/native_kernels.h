// Kernels that this driver knows by name and runs as host code, for loads that the interpreter is too slow for:
//
//   lull_sim_fill(words, value, n)   words[i] = value                          32-bit words
//   lull_sim_saxpy(a, x, y, n)       y[i] = a * x[i] + y[i], rounded once      f32
//   lull_sim_hash(words, out, n)     out += mix(words[i], i)                   32-bit words into a 64-bit sum
//   lull_hash(data, pairs, seed, results)   what shim/hash_kernel.h says, launched by every eviction and restore
//
// the first three for every thread i < n of the grid. A program loads the text below (of lull_hash: the shim's), or its
// own of the same meaning: the name and the sizes of the parameters are what is known. A launch with threads in y or z,
// a cooperative one, and any other kernel is interpreted; a real GPU compiles the text. What such a kernel may not
// touch is error 700 as ever.
#pragma once
#include <optional>

#include "tests/driver/ptx/ptx.h"

namespace lull::sim {

// Empty: not a kernel, or not a launch, of those above. To be called where memory may be missing (guard.h).
std::optional<ptx::Outcome> run_native(const ptx::Kernel& kernel, const ptx::Launch& launch);

inline constexpr const char* native_kernels_text = R"(
.version 6.3
.target sm_75
.address_size 64

.visible .entry lull_sim_fill(.param .u64 words, .param .u32 value, .param .u64 n)
{
  .reg .pred %p;
  .reg .b32 %r<5>;
  .reg .b64 %rd<6>;
  ld.param.u64 %rd1, [words];
  ld.param.u32 %r1, [value];
  ld.param.u64 %rd2, [n];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  cvt.u64.u32 %rd3, %r4;
  mad.wide.u32 %rd3, %r2, %r3, %rd3;
  setp.ge.u64 %p, %rd3, %rd2;
  @%p bra done;
  shl.b64 %rd4, %rd3, 2;
  add.u64 %rd5, %rd1, %rd4;
  st.global.u32 [%rd5], %r1;
done:
  ret;
}

.visible .entry lull_sim_saxpy(.param .f32 a, .param .u64 x, .param .u64 y, .param .u64 n)
{
  .reg .pred %p;
  .reg .f32 %f<4>;
  .reg .b32 %r<4>;
  .reg .b64 %rd<8>;
  ld.param.f32 %f1, [a];
  ld.param.u64 %rd1, [x];
  ld.param.u64 %rd2, [y];
  ld.param.u64 %rd3, [n];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  cvt.u64.u32 %rd4, %r3;
  mad.wide.u32 %rd4, %r1, %r2, %rd4;
  setp.ge.u64 %p, %rd4, %rd3;
  @%p bra done;
  shl.b64 %rd5, %rd4, 2;
  add.u64 %rd6, %rd1, %rd5;
  add.u64 %rd7, %rd2, %rd5;
  ld.global.f32 %f2, [%rd6];
  ld.global.f32 %f3, [%rd7];
  fma.rn.f32 %f3, %f1, %f2, %f3;
  st.global.f32 [%rd7], %f3;
done:
  ret;
}

.visible .entry lull_sim_hash(.param .u64 words, .param .u64 out, .param .u64 n)
{
  .reg .pred %p;
  .reg .b32 %r<5>;
  .reg .b64 %rd<9>;
  ld.param.u64 %rd1, [words];
  ld.param.u64 %rd2, [out];
  ld.param.u64 %rd3, [n];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  cvt.u64.u32 %rd4, %r3;
  mad.wide.u32 %rd4, %r1, %r2, %rd4;
  setp.ge.u64 %p, %rd4, %rd3;
  @%p bra done;
  shl.b64 %rd5, %rd4, 2;
  add.u64 %rd6, %rd1, %rd5;
  ld.global.u32 %r4, [%rd6];
  cvt.u64.u32 %rd7, %r4;
  add.u64 %rd4, %rd4, 1;
  mad.lo.u64 %rd7, %rd4, 0x9e3779b97f4a7c15, %rd7;
  shr.u64 %rd8, %rd7, 30;
  xor.b64 %rd7, %rd7, %rd8;
  mul.lo.u64 %rd7, %rd7, 0xbf58476d1ce4e5b9;
  shr.u64 %rd8, %rd7, 27;
  xor.b64 %rd7, %rd7, %rd8;
  mul.lo.u64 %rd7, %rd7, 0x94d049bb133111eb;
  shr.u64 %rd8, %rd7, 31;
  xor.b64 %rd7, %rd7, %rd8;
  atom.global.add.u64 %rd8, [%rd2], %rd7;
done:
  ret;
}
)";

}  // namespace lull::sim

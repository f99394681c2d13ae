// The kernels of the random programs. What they write depends on nothing but their arguments and the memory given.
#pragma once

namespace lull::random {

// fill: words[i] = i * 2654435761 + seed.  mix: a[i] = a[i] * factor + b[i].  `total` is a variable of the module.
inline constexpr char kernel_text[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .global .align 4 .u32 total = 41;

.visible .entry fill(.param .u64 p_words, .param .u32 p_count, .param .u32 p_seed)
{
  .reg .pred %p<2>;
  .reg .b32 %r<8>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [p_words];
  ld.param.u32 %r1, [p_count];
  ld.param.u32 %r2, [p_seed];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.u32 %r6, %r3, %r4, %r5;
  setp.ge.u32 %p1, %r6, %r1;
  @%p1 bra DONE;
  mad.lo.u32 %r7, %r6, 0x9e3779b1, %r2;
  mul.wide.u32 %rd2, %r6, 4;
  add.u64 %rd3, %rd1, %rd2;
  st.global.u32 [%rd3], %r7;
DONE:
  ret;
}

.visible .entry mix(.param .u64 p_a, .param .u64 p_b, .param .u32 p_count, .param .u32 p_factor)
{
  .reg .pred %p<2>;
  .reg .b32 %r<10>;
  .reg .b64 %rd<6>;
  ld.param.u64 %rd1, [p_a];
  ld.param.u64 %rd2, [p_b];
  ld.param.u32 %r1, [p_count];
  ld.param.u32 %r2, [p_factor];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.u32 %r6, %r3, %r4, %r5;
  setp.ge.u32 %p1, %r6, %r1;
  @%p1 bra DONE;
  mul.wide.u32 %rd3, %r6, 4;
  add.u64 %rd4, %rd1, %rd3;
  add.u64 %rd5, %rd2, %rd3;
  ld.global.u32 %r7, [%rd4];
  ld.global.u32 %r8, [%rd5];
  mad.lo.u32 %r9, %r7, %r2, %r8;
  st.global.u32 [%rd4], %r9;
DONE:
  ret;
}
)";

}  // namespace lull::random

// tests/workloads/kernels.h: the kernels of the workloads as PTX text, readable by any driver since CUDA 10.
//
// Everything a kernel writes is the same on every run, whatever the order of its threads: sums are sums of integers,
// and each weight is updated by one thread with a fixed rounding.
#pragma once

namespace lull::workload {

// One step of momentum SGD on elements [first, first + count) of a layer. Every element has a target (a mix of its
// index and the layer's salt) and every step some noise:
//   g = w - target + noise;  m = 0.9 m + g;  w = w - 0.05 m
// stats[0] += 2^20 * (w - target)^2;  stats[1] += bits of the new w times an odd number of the element's own
inline constexpr char sgd_ptx[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry sgd(.param .u64 p_weights, .param .u64 p_momentum, .param .u64 p_stats, .param .u32 p_first,
                    .param .u32 p_count, .param .u32 p_salt, .param .u32 p_step)
{
  .reg .pred %p<3>;
  .reg .b32 %r<20>;
  .reg .f32 %f<16>;
  .reg .b64 %rd<16>;
  .shared .align 8 .b64 sums[2];
  ld.param.u64 %rd1, [p_weights];
  ld.param.u64 %rd2, [p_momentum];
  ld.param.u64 %rd3, [p_stats];
  ld.param.u32 %r1, [p_first];
  ld.param.u32 %r2, [p_count];
  ld.param.u32 %r3, [p_salt];
  ld.param.u32 %r4, [p_step];
  mov.u32 %r5, %ctaid.x;
  mov.u32 %r6, %ntid.x;
  mov.u32 %r7, %tid.x;
  mov.u32 %r8, %nctaid.x;
  mad.lo.u32 %r9, %r5, %r6, %r7;
  mul.lo.u32 %r10, %r8, %r6;
  mul.lo.u32 %r11, %r4, 0x632be5ab;
  mov.u64 %rd4, 0;
  mov.u64 %rd5, 0;
  mov.u64 %rd6, sums;
  setp.ne.u32 %p1, %r7, 0;
  @%p1 bra READY;
  st.shared.u64 [%rd6], %rd4;
  st.shared.u64 [%rd6+8], %rd4;
READY:
  bar.sync 0;
NEXT:
  setp.ge.u32 %p1, %r9, %r2;
  @%p1 bra SUM;
  add.u32 %r12, %r1, %r9;
  mul.wide.u32 %rd7, %r12, 4;
  add.u64 %rd8, %rd1, %rd7;
  add.u64 %rd9, %rd2, %rd7;
  ld.global.f32 %f1, [%rd8];
  ld.global.f32 %f2, [%rd9];
  xor.b32 %r13, %r12, %r3;
  shr.u32 %r14, %r13, 16;
  xor.b32 %r13, %r13, %r14;
  mul.lo.u32 %r13, %r13, 0x85ebca6b;
  shr.u32 %r14, %r13, 13;
  xor.b32 %r13, %r13, %r14;
  mul.lo.u32 %r13, %r13, 0xc2b2ae35;
  shr.u32 %r14, %r13, 16;
  xor.b32 %r13, %r13, %r14;
  shr.u32 %r15, %r13, 8;
  cvt.rn.f32.u32 %f3, %r15;
  fma.rn.f32 %f4, %f3, 0f33800000, 0fBF000000;
  add.u32 %r16, %r13, %r11;
  shr.u32 %r16, %r16, 8;
  cvt.rn.f32.u32 %f5, %r16;
  fma.rn.f32 %f6, %f5, 0f314CCCCD, 0fBCCCCCCD;
  sub.rn.f32 %f7, %f1, %f4;
  add.rn.f32 %f8, %f7, %f6;
  fma.rn.f32 %f9, %f2, 0f3F666666, %f8;
  fma.rn.f32 %f10, %f9, 0fBD4CCCCD, %f1;
  st.global.f32 [%rd8], %f10;
  st.global.f32 [%rd9], %f9;
  mul.rn.f32 %f11, %f7, %f7;
  mul.rn.f32 %f11, %f11, 0f49800000;
  cvt.rzi.u32.f32 %r17, %f11;
  cvt.u64.u32 %rd10, %r17;
  add.u64 %rd4, %rd4, %rd10;
  mov.b32 %r18, %f10;
  or.b32 %r13, %r13, 1;
  mul.wide.u32 %rd11, %r18, %r13;
  add.u64 %rd5, %rd5, %rd11;
  add.u32 %r9, %r9, %r10;
  bra NEXT;
SUM:
  atom.shared.add.u64 %rd12, [%rd6], %rd4;
  atom.shared.add.u64 %rd13, [%rd6+8], %rd5;
  bar.sync 0;
  setp.ne.u32 %p2, %r7, 0;
  @%p2 bra DONE;
  ld.shared.u64 %rd12, [%rd6];
  ld.shared.u64 %rd13, [%rd6+8];
  atom.global.add.u64 %rd14, [%rd3], %rd12;
  atom.global.add.u64 %rd15, [%rd3+8], %rd13;
DONE:
  ret;
}
)";

// One layer of a quantised forward pass: result[0] += sum of w[i] * x(i) over i = first, first + stride, ... for
// `samples` elements, where x(i) is a mix of i and the request's input.
inline constexpr char forward_ptx[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry forward(.param .u64 p_weights, .param .u64 p_result, .param .u32 p_first, .param .u32 p_stride,
                        .param .u32 p_samples, .param .u32 p_input)
{
  .reg .pred %p<3>;
  .reg .b32 %r<20>;
  .reg .b64 %rd<12>;
  .shared .align 8 .b64 sum[1];
  ld.param.u64 %rd1, [p_weights];
  ld.param.u64 %rd2, [p_result];
  ld.param.u32 %r1, [p_first];
  ld.param.u32 %r2, [p_stride];
  ld.param.u32 %r3, [p_samples];
  ld.param.u32 %r4, [p_input];
  mov.u32 %r5, %ctaid.x;
  mov.u32 %r6, %ntid.x;
  mov.u32 %r7, %tid.x;
  mov.u32 %r8, %nctaid.x;
  mad.lo.u32 %r9, %r5, %r6, %r7;
  mul.lo.u32 %r10, %r8, %r6;
  mov.u64 %rd3, 0;
  mov.u64 %rd4, sum;
  setp.ne.u32 %p1, %r7, 0;
  @%p1 bra READY;
  st.shared.u64 [%rd4], %rd3;
READY:
  bar.sync 0;
NEXT:
  setp.ge.u32 %p1, %r9, %r3;
  @%p1 bra SUM;
  mad.lo.u32 %r11, %r9, %r2, %r1;
  mul.wide.u32 %rd5, %r11, 4;
  add.u64 %rd6, %rd1, %rd5;
  ld.global.u32 %r12, [%rd6];
  xor.b32 %r13, %r11, %r4;
  shr.u32 %r14, %r13, 16;
  xor.b32 %r13, %r13, %r14;
  mul.lo.u32 %r13, %r13, 0x85ebca6b;
  shr.u32 %r14, %r13, 13;
  xor.b32 %r13, %r13, %r14;
  mul.lo.u32 %r13, %r13, 0xc2b2ae35;
  shr.u32 %r14, %r13, 16;
  xor.b32 %r13, %r13, %r14;
  mul.wide.u32 %rd7, %r12, %r13;
  add.u64 %rd3, %rd3, %rd7;
  add.u32 %r9, %r9, %r10;
  bra NEXT;
SUM:
  atom.shared.add.u64 %rd8, [%rd4], %rd3;
  bar.sync 0;
  setp.ne.u32 %p2, %r7, 0;
  @%p2 bra DONE;
  ld.shared.u64 %rd8, [%rd4];
  atom.global.add.u64 %rd9, [%rd2], %rd8;
DONE:
  ret;
}
)";

}  // namespace lull::workload

#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

// What tests and the bench share: kernels, which ptxas accepts as they are, and their arguments.
namespace lull::ptx::test {

// The flat parameter buffer of a launch.
class Arguments {
 public:
  template <class... T>
  explicit Arguments(T... values) {
    (add(values), ...);
  }

  const std::byte* data() const { return bytes_.data(); }

 private:
  template <class T>
  void add(T value) {
    const std::size_t at = (bytes_.size() + alignof(T) - 1) / alignof(T) * alignof(T);
    bytes_.resize(at + sizeof value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }

  std::vector<std::byte> bytes_;
};

inline constexpr std::string_view kHeader = ".version 6.3\n.target sm_75\n.address_size 64\n";

inline constexpr std::string_view kSaxpy = R"(
.visible .entry saxpy(.param .u64 x_, .param .u64 y_, .param .f32 a_, .param .u32 n_)
{
  .reg .pred %p<2>; .reg .f32 %f<5>; .reg .b32 %r<6>; .reg .b64 %rd<6>;
  ld.param.u64 %rd1, [x_];
  ld.param.u64 %rd2, [y_];
  ld.param.f32 %f1, [a_];
  ld.param.u32 %r1, [n_];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra $done;
  mul.wide.u32 %rd3, %r5, 4;
  add.s64 %rd4, %rd1, %rd3;
  add.s64 %rd5, %rd2, %rd3;
  ld.global.f32 %f2, [%rd4];
  ld.global.f32 %f3, [%rd5];
  fma.rn.f32 %f4, %f1, %f2, %f3;
  st.global.f32 [%rd5], %f4;
$done:
  ret;
}
)";

// Momentum SGD: g from a hash of index and step, v = mu * v + g, w -= rate * v. A grid-stride loop.
inline constexpr std::string_view kSgd = R"(
.visible .entry sgd(.param .u64 w_, .param .u64 v_, .param .u32 n_, .param .u32 step_, .param .f32 mu_, .param .f32 rate_)
.maxntid 256, 1, 1
{
  .reg .pred %p<3>; .reg .f32 %f<10>; .reg .b32 %r<20>; .reg .b64 %rd<8>;
  ld.param.u64 %rd1, [w_];
  ld.param.u64 %rd2, [v_];
  ld.param.u32 %r1, [n_];
  ld.param.u32 %r2, [step_];
  ld.param.f32 %f1, [mu_];
  ld.param.f32 %f2, [rate_];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.u32 %r6, %r3, %r4, %r5;
  mov.u32 %r7, %nctaid.x;
  mul.lo.u32 %r8, %r7, %r4;
  mul.lo.u32 %r9, %r2, 0x9E3779B1;
  setp.ge.u32 %p1, %r6, %r1;
  @%p1 bra done;
loop:
  add.u32 %r10, %r6, %r9;
  shr.u32 %r11, %r10, 16;
  xor.b32 %r10, %r10, %r11;
  mul.lo.u32 %r10, %r10, 0x85EBCA6B;
  shr.u32 %r11, %r10, 13;
  xor.b32 %r10, %r10, %r11;
  mul.lo.u32 %r10, %r10, 0xC2B2AE35;
  shr.u32 %r11, %r10, 16;
  xor.b32 %r10, %r10, %r11;
  shr.s32 %r12, %r10, 8;
  cvt.rn.f32.s32 %f3, %r12;
  mul.f32 %f4, %f3, 0f34000000;
  mul.wide.u32 %rd3, %r6, 4;
  add.u64 %rd4, %rd1, %rd3;
  add.u64 %rd5, %rd2, %rd3;
  ld.global.f32 %f5, [%rd5];
  fma.rn.f32 %f6, %f1, %f5, %f4;
  st.global.f32 [%rd5], %f6;
  ld.global.f32 %f7, [%rd4];
  mul.f32 %f8, %f2, %f6;
  sub.f32 %f9, %f7, %f8;
  st.global.f32 [%rd4], %f9;
  add.u32 %r6, %r6, %r8;
  setp.lt.u32 %p2, %r6, %r1;
  @%p2 bra loop;
done:
  ret;
}
)";

// out += the sum over i of rotate(word * K + i, 27): 64 bits, any order of the sum.
inline constexpr std::string_view kChecksum = R"(
.visible .entry checksum(.param .u64 in_, .param .u64 out_, .param .u32 n_)
{
  .reg .pred %p<4>; .reg .b32 %r<12>; .reg .b64 %rd<16>;
  .shared .align 8 .b64 partial[256];
  ld.param.u64 %rd1, [in_];
  ld.param.u64 %rd2, [out_];
  ld.param.u32 %r1, [n_];
  mov.u32 %r2, %tid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %ctaid.x;
  mad.lo.u32 %r5, %r4, %r3, %r2;
  mov.u32 %r6, %nctaid.x;
  mul.lo.u32 %r6, %r6, %r3;
  mov.u64 %rd3, 0;
  bra test;
loop:
  mul.wide.u32 %rd4, %r5, 4;
  add.u64 %rd5, %rd1, %rd4;
  ld.global.u32 %rd6, [%rd5];
  cvt.u64.u32 %rd7, %r5;
  mad.lo.u64 %rd8, %rd6, 0x9E3779B97F4A7C15, %rd7;
  shl.b64 %rd9, %rd8, 27;
  shr.u64 %rd10, %rd8, 37;
  or.b64 %rd11, %rd9, %rd10;
  add.u64 %rd3, %rd3, %rd11;
  add.u32 %r5, %r5, %r6;
test:
  setp.lt.u32 %p1, %r5, %r1;
  @%p1 bra loop;
  mov.u32 %r7, partial;
  shl.b32 %r8, %r2, 3;
  add.u32 %r7, %r7, %r8;
  st.shared.u64 [%r7], %rd3;
  shr.u32 %r9, %r3, 1;
reduce:
  bar.sync 0;
  setp.ge.u32 %p2, %r2, %r9;
  @%p2 bra skip;
  shl.b32 %r10, %r9, 3;
  add.u32 %r10, %r10, %r7;
  ld.shared.u64 %rd12, [%r7];
  ld.shared.u64 %rd13, [%r10];
  add.u64 %rd12, %rd12, %rd13;
  st.shared.u64 [%r7], %rd12;
skip:
  shr.u32 %r9, %r9, 1;
  setp.ne.u32 %p3, %r9, 0;
  @%p3 bra reduce;
  setp.ne.u32 %p2, %r2, 0;
  @%p2 bra done;
  ld.shared.u64 %rd14, [%r7];
  red.global.add.u64 [%rd2], %rd14;
done:
  ret;
}
)";

// Each thread hashes 1 KiB of its own into 128 bits.
inline constexpr std::string_view kHash = R"(
.visible .entry hash128(.param .u64 in_, .param .u64 out_, .param .u32 chunks_)
{
  .reg .pred %p<3>; .reg .b32 %r<10>; .reg .b64 %rd<20>;
  ld.param.u64 %rd1, [in_];
  ld.param.u64 %rd2, [out_];
  ld.param.u32 %r1, [chunks_];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.u32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 ret;
  mul.wide.u32 %rd3, %r5, 1024;
  add.u64 %rd3, %rd1, %rd3;
  mov.u64 %rd4, 0x9E3779B97F4A7C15;
  mov.u64 %rd5, 0xC2B2AE3D27D4EB4F;
  mov.u32 %r6, 0;
loop:
  ld.global.v2.u64 {%rd6, %rd7}, [%rd3];
  xor.b64 %rd4, %rd4, %rd6;
  mul.lo.u64 %rd4, %rd4, 0x87C37B91114253D5;
  shl.b64 %rd8, %rd4, 31;
  shr.u64 %rd9, %rd4, 33;
  or.b64 %rd4, %rd8, %rd9;
  add.u64 %rd4, %rd4, %rd5;
  xor.b64 %rd5, %rd5, %rd7;
  mul.lo.u64 %rd5, %rd5, 0x4CF5AD432745937F;
  shl.b64 %rd10, %rd5, 27;
  shr.u64 %rd11, %rd5, 37;
  or.b64 %rd5, %rd10, %rd11;
  add.u64 %rd5, %rd5, %rd4;
  add.u64 %rd3, %rd3, 16;
  add.u32 %r6, %r6, 1;
  setp.lt.u32 %p2, %r6, 64;
  @%p2 bra loop;
  mul.wide.u32 %rd12, %r5, 16;
  add.u64 %rd12, %rd2, %rd12;
  st.global.v2.u64 [%rd12], {%rd4, %rd5};
  ret;
}
)";

}  // namespace lull::ptx::test

#include "tests/driver/testing/test_support.h"

namespace lull::sim::test {
namespace {

constexpr const char* text = R"(
.version 6.3
.target sm_75
.address_size 64

.global .align 4 .u32 counter = 7;

// words[i] += 1 for i < n
.visible .entry add_one(.param .u64 words, .param .u32 n)
{
  .reg .pred %p<2>;
  .reg .b32 %r<7>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [words];
  ld.param.u32 %r1, [n];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra done;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.u32 %rd3, %r5, 4;
  add.s64 %rd4, %rd2, %rd3;
  ld.global.u32 %r6, [%rd4];
  add.s32 %r6, %r6, 1;
  st.global.u32 [%rd4], %r6;
done:
  ret;
}

// until *flag is not 0
.visible .entry spin(.param .u64 flag)
{
  .reg .pred %p<2>;
  .reg .b32 %r<2>;
  .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [flag];
again:
  ld.volatile.global.u32 %r1, [%rd1];
  setp.eq.u32 %p1, %r1, 0;
  @%p1 bra again;
  ret;
}
)";

}  // namespace

CUfunction kernel(const char* name) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, text));
  OK(cuModuleGetFunction(&function, module, name));
  OK(cuFuncLoad(function));  // its native memory is charged here, so that a case can count what comes after
  return function;
}

CUresult launch(CUfunction f, unsigned threads, CUstream stream, std::vector<void*> parameters) {
  const unsigned block = threads < 256 ? threads : 256;
  return cuLaunchKernel(f, (threads + block - 1) / block, 1, 1, block, 1, 1, 0, stream, parameters.data(), nullptr);
}

}  // namespace lull::sim::test

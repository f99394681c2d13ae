// tests/workloads/late_loader.cpp: a program that needs native memory late, when the card may be full of others'
// memory. It knows nothing of Lull.
//
// Allocates, says "ready", waits for SIGUSR1, then loads modules one after the other and runs a kernel of each over its
// memory; says what the memory holds at the end: as many kernels as it has modules, if all went well.
#include <csignal>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>
#include <vector>

#include "tests/workloads/gpu.h"

namespace lull::workload {
namespace {

constexpr char add_one_ptx[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry add_one(.param .u64 p_words, .param .u32 p_count)
{
  .reg .pred %p<2>;
  .reg .b32 %r<8>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [p_words];
  ld.param.u32 %r1, [p_count];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.u32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra DONE;
  mul.wide.u32 %rd2, %r5, 4;
  add.u64 %rd3, %rd1, %rd2;
  ld.global.u32 %r6, [%rd3];
  add.u32 %r7, %r6, 1;
  st.global.u32 [%rd3], %r7;
DONE:
  ret;
}
)";

void add_one(const Module& module, const Buffer& buffer) {
  CUdeviceptr at = buffer.address();
  std::uint32_t count = buffer.words();
  void* arguments[] = {&at, &count};
  constexpr unsigned threads = 256;
  const unsigned blocks = (count + threads - 1) / threads;
  CU(cuLaunchKernel(module.function("add_one"), blocks, 1, 1, threads, 1, 1, 0, nullptr, arguments, nullptr));
  CU(cuCtxSynchronize());
}

// How many words hold `value`.
std::size_t count_of(const Buffer& buffer, std::uint32_t value) {
  std::size_t count = 0;
  buffer.download([&](std::span<const std::uint32_t> words) {
    for (const std::uint32_t word : words) count += word == value;
  });
  return count;
}

int run(std::size_t bytes, unsigned modules) {
  sigset_t signal;
  (void)sigemptyset(&signal);
  (void)sigaddset(&signal, SIGUSR1);
  (void)::pthread_sigmask(SIG_BLOCK, &signal, nullptr);
  const Gpu gpu;
  Buffer buffer(bytes);
  CU(cuMemsetD32(buffer.address(), 0, buffer.words()));
  CU(cuCtxSynchronize());
  std::printf("ready\n");
  (void)std::fflush(stdout);
  int which = 0;
  (void)sigwait(&signal, &which);
  std::vector<std::unique_ptr<Module>> loaded;
  for (unsigned i = 0; i < modules; ++i) {
    loaded.push_back(std::make_unique<Module>(add_one_ptx));
    add_one(*loaded.back(), buffer);
    std::printf("module %u\n", i + 1);
    (void)std::fflush(stdout);
  }
  std::printf("%zu of %u words are right\n", count_of(buffer, modules), buffer.words());
  return 0;
}

}  // namespace
}  // namespace lull::workload

int main(int argc, char** argv) {
  CLI::App app("Allocates, waits for SIGUSR1, then loads modules and runs a kernel of each.");
  std::string bytes = "64M";
  unsigned modules = 2;
  app.add_option("--bytes", bytes, "memory to allocate");
  app.add_option("--modules", modules, "how many to load");
  CLI11_PARSE(app, argc, argv);
  try {
    return lull::workload::run(lull::workload::parse_bytes(bytes), modules);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "late-loader: %s\n", error.what());
    return 1;
  }
}

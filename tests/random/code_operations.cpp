// Modules, libraries, functions: what is loaded, and what is told about it.
#include "tests/random/actor.h"
#include "tests/random/kernels.h"

namespace lull::random {
namespace {

void use_module(Actor& actor, Dice& dice) {
  CUmodule module = nullptr;
  const CUresult loaded = cuModuleLoadData(&module, kernel_text);
  CUdeviceptr total = 0;
  std::size_t bytes = 0;
  const CUresult found = cuModuleGetGlobal_v2(&total, &bytes, module, "total");
  unsigned value = 0, changed = static_cast<unsigned>(dice.next()), again = 0;
  const CUresult read = cuMemcpyDtoH_v2(&value, total, 4);
  const CUresult written = cuMemcpyHtoD_v2(total, &changed, 4);
  const CUresult reread = cuMemcpyDtoH_v2(&again, total, 4);
  actor.say("load -> {}, total -> {}, {} bytes; {} {}, {} {} {}", int(loaded), int(found), bytes, int(read), value,
            int(written), int(reread), again == changed);
  CUfunction function = nullptr, none = nullptr;
  const CUresult missing = cuModuleGetFunction(&none, module, "no such kernel");
  const CUresult there = cuModuleGetFunction(&function, module, "mix");
  actor.say("functions -> {} {}, unload -> {}", int(missing), int(there), int(cuModuleUnload(module)));
}

void use_library(Actor& actor, Dice& dice) {
  CUlibrary library = nullptr;
  const CUresult loaded = cuLibraryLoadData(&library, kernel_text, nullptr, nullptr, 0, nullptr, nullptr, 0);
  CUkernel kernel = nullptr;
  CUfunction function = nullptr;
  const CUresult got = cuLibraryGetKernel(&kernel, library, "fill");
  const CUresult as_function = cuKernelGetFunction(&function, kernel);
  actor.say("load -> {}, kernel -> {}, function -> {}", int(loaded), int(got), int(as_function));
  CUdeviceptr total = 0;
  std::size_t bytes = 0;
  const CUresult global = cuLibraryGetGlobal(&total, &bytes, library, "total");
  Buffer* buffer = actor.some_buffer(dice);
  CUresult launched = CUDA_SUCCESS;
  if (buffer) {
    actor.bring(*buffer, nullptr);
    unsigned count = 256, seed = 5;
    if (buffer->bytes < 1024) count = static_cast<unsigned>(buffer->bytes / 4);
    void* arguments[] = {&buffer->at, &count, &seed};
    launched = cuLaunchKernel(dice.one_in(2) ? function : reinterpret_cast<CUfunction>(kernel), 2, 1, 1, 128, 1, 1, 0,
                              nullptr, arguments, nullptr);
    (void)cuStreamSynchronize(nullptr);
  }
  actor.say("global -> {}, {} bytes, launch -> {}, unload -> {}", int(global), bytes, int(launched),
            int(cuLibraryUnload(library)));
}

void ask_function(Actor& actor, Dice&) {
  int threads = 0, shared = 0, blocks = 0;
  const CUresult first = cuFuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, actor.kernels.fill);
  const CUresult second = cuFuncGetAttribute(&shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, actor.kernels.mix);
  const CUresult third = cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, actor.kernels.fill, 128, 0);
  actor.say("-> {} {}, {} {}, {} {}", int(first), threads, int(second), shared, int(third), blocks);
}

void bad_text(Actor& actor, Dice&) {
  CUmodule module = nullptr;
  char log[64] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  const CUresult result = cuModuleLoadDataEx(&module, ".version 6.3\n.target sm_75\nnonsense;\n", 2, options, values);
  actor.say("-> {}, says something {}", int(result), log[0] != 0);
}

}  // namespace

const std::vector<Operation> code_operations = {
    {"module", 2, use_module}, {"library", 2, use_library}, {"function", 1, ask_function}, {"bad text", 1, bad_text}};

}  // namespace lull::random

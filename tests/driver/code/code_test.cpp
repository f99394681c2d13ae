// Images of code: text, fat binaries, links, their options and their errors.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/driver/testing/test_support.h"

namespace lull::sim::test {
namespace {

constexpr const char* kHeader = ".version 6.3\n.target sm_75\n.address_size 64\n";
const std::string kStore =
    ".visible .entry store(.param .u64 to) {\n .reg .b64 %rd; .reg .b32 %r; ld.param.u64 %rd, [to];\n"
    " mov.u32 %r, 41; st.global.u32 [%rd], %r; ret; }\n";

unsigned run_and_read(CUmodule module, const char* name) {
  CUfunction function = nullptr;
  OK(cuModuleGetFunction(&function, module, name));
  CUdeviceptr to = 0;
  OK(cuMemAlloc_v2(&to, 4));
  void* parameters[] = {&to};
  OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  unsigned out = 0;
  OK(cuMemcpyDtoH_v2(&out, to, 4));
  OK(cuMemFree_v2(to));
  return out;
}

struct Options {
  std::array<char, 200> log{};
  std::array<CUjit_option, 2> options{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  std::array<void*, 2> values{log.data(), reinterpret_cast<void*>(log.size())};
};

TEST_CASE(
    "wrong PTX answers CUDA_ERROR_INVALID_PTX with line and column in the error log, whose filled size is written "
    "back") {
  const TestContext context;
  Options jit;
  CUmodule module = nullptr;
  const std::string text = std::string(kHeader) + ".entry k { add.u32 %r1, %r2, 1; }";
  CHECK_EQ(cuModuleLoadDataEx(&module, text.c_str(), 2, jit.options.data(), jit.values.data()), CUDA_ERROR_INVALID_PTX);
  CHECK_EQ(std::string(jit.log.data()), "line 4, column 20: register '%r1' is not declared");
  CHECK_EQ(reinterpret_cast<std::size_t>(jit.values[1]), std::strlen(jit.log.data()));
}

TEST_CASE("PTX of a newer version than the driver knows is told from wrong PTX") {
  const TestContext context;
  CUmodule module = nullptr;
  const auto text = [](const char* version) {
    return std::string(".version ") + version + "\n.target sm_75\n.address_size 64\n.entry k { ret; }";
  };
  Options jit;
  CHECK_EQ(cuModuleLoadDataEx(&module, text("9.1").c_str(), 2, jit.options.data(), jit.values.data()),
           CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  CHECK_EQ(std::string(jit.log.data()), "line 1, column 10: version 9.1 is newer than 9.0, the newest known here");
  CHECK_EQ(cuModuleLoadData(&module, text("10.0").c_str()), CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  CHECK_EQ(cuModuleLoadData(&module, text("9.x").c_str()), CUDA_ERROR_INVALID_PTX);
  OK(cuModuleLoadData(&module, text("9.0").c_str()));
  OK(cuModuleUnload(module));
}

TEST_CASE("an error log is never written past its size") {
  const TestContext context;
  Options jit;
  jit.log.fill('x');
  jit.values[1] = reinterpret_cast<void*>(std::size_t{10});
  CUmodule module = nullptr;
  CHECK_EQ(cuModuleLoadDataEx(&module, "nonsense", 2, jit.options.data(), jit.values.data()), CUDA_ERROR_INVALID_PTX);
  CHECK_EQ(std::strlen(jit.log.data()), 9);
  CHECK_EQ(jit.log[10], 'x');
}

TEST_CASE("options that cuda.h does not know, or that come without values, are invalid") {
  const TestContext context;
  Options jit;
  CUmodule module = nullptr;
  const std::string text = kHeader + kStore;
  CHECK_EQ(cuModuleLoadDataEx(&module, text.c_str(), 2, jit.options.data(), nullptr), CUDA_ERROR_INVALID_VALUE);
  jit.options[0] = static_cast<CUjit_option>(CU_JIT_NUM_OPTIONS);
  CHECK_EQ(cuModuleLoadDataEx(&module, text.c_str(), 2, jit.options.data(), jit.values.data()),
           CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("PTX for a newer architecture than the device's is refused") {
  const TestContext context;
  CUmodule module = nullptr;
  const std::string text = ".version 8.0\n.target sm_199\n.address_size 64\n" + kStore;
  CHECK_EQ(cuModuleLoadData(&module, text.c_str()), CUDA_ERROR_INVALID_PTX);
}

// A fat binary as the toolkit lays it out: one entry of 64 bytes of header and its payload.
std::vector<char> fat_binary(const std::string& payload, std::uint16_t kind, std::uint32_t architecture,
                             std::uint32_t compressed) {
  std::vector<char> out(16 + 64);
  const auto put = [&](std::size_t at, auto value) { std::memcpy(out.data() + at, &value, sizeof value); };
  const std::uint64_t size = (payload.size() + 8) / 8 * 8;
  put(0, std::uint32_t{0xba55ed50});
  put(4, std::uint16_t{1});
  put(6, std::uint16_t{16});
  put(8, std::uint64_t{64} + size);
  put(16, kind);
  put(20, std::uint32_t{64});
  put(24, size);
  put(32, compressed);
  put(44, architecture);
  out.insert(out.end(), payload.begin(), payload.end());
  out.resize(80 + size);
  return out;
}

TEST_CASE("a fat binary is loaded by its uncompressed PTX, with and without the wrapper") {
  const TestContext context;
  const auto fat = fat_binary(kHeader + kStore, 1, 75, 0);
  CUmodule module = nullptr;
  OK(cuModuleLoadFatBinary(&module, fat.data()));
  CHECK_EQ(run_and_read(module, "store"), 41);
  struct {
    std::uint32_t magic = 0x466243b1, version = 1;
    const void* data = nullptr;
    void* unused = nullptr;
  } wrapper;
  wrapper.data = fat.data();
  CUmodule wrapped = nullptr;
  OK(cuModuleLoadData(&wrapped, &wrapper));
  CHECK_EQ(run_and_read(wrapped, "store"), 41);
  OK(cuModuleUnload(module));
  OK(cuModuleUnload(wrapped));
}

TEST_CASE("a fat binary with machine code, compressed text or text for newer devices only has no binary for this GPU") {
  const TestContext context;
  const std::string text = kHeader + kStore;
  for (const auto& [fat, why] :
       {std::pair(fat_binary(text, 2, 75, 0), "machine code"), std::pair(fat_binary(text, 1, 75, 20), "compressed"),
        std::pair(fat_binary(text, 1, 199, 0), "newer")}) {
    Options jit;
    CUmodule module = nullptr;
    CHECK_EQ(cuModuleLoadDataEx(&module, fat.data(), 2, jit.options.data(), jit.values.data()),
             CUDA_ERROR_NO_BINARY_FOR_GPU);
    CHECK(std::string(jit.log.data()).find(why) != std::string::npos);
  }
}

const std::string kUser = std::string(kHeader) +
                          ".extern .func (.reg .u32 r) answer();\n.visible .entry use(.param .u64 to) {\n"
                          " .reg .b64 %rd; .reg .b32 %r; ld.param.u64 %rd, [to]; call (%r), answer, ();\n"
                          " st.global.u32 [%rd], %r; ret; }\n";
const std::string kMaker = std::string(kHeader) + ".visible .func (.reg .u32 r) answer() { mov.u32 r, 42; ret; }\n";

CUresult add(CUlinkState state, const std::string& text) {
  return cuLinkAddData_v2(state, CU_JIT_INPUT_PTX, const_cast<char*>(text.c_str()), text.size() + 1, "text", 0, nullptr,
                          nullptr);
}

TEST_CASE("cuLinkComplete links PTX inputs that use each other, and what it returns loads") {
  const TestContext context;
  CUlinkState state = nullptr;
  OK(cuLinkCreate_v2(0, nullptr, nullptr, &state));
  OK(add(state, kUser));
  OK(add(state, kMaker));
  void* cubin = nullptr;
  std::size_t size = 0;
  OK(cuLinkComplete(state, &cubin, &size));
  CHECK_GT(size, kUser.size());
  CUmodule module = nullptr;
  OK(cuModuleLoadData(&module, cubin));
  OK(cuLinkDestroy(state));
  CHECK_EQ(run_and_read(module, "use"), 42);
  OK(cuModuleUnload(module));
  CHECK_EQ(cuLinkDestroy(state), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("a link names what is missing, wrong inputs and wrong handles") {
  const TestContext context;
  Options jit;
  CUlinkState state = nullptr;
  OK(cuLinkCreate_v2(2, jit.options.data(), jit.values.data(), &state));
  CHECK_EQ(add(state, "nonsense"), CUDA_ERROR_INVALID_PTX);
  CHECK_EQ(cuLinkAddFile_v2(state, CU_JIT_INPUT_PTX, "/no/such/file", 0, nullptr, nullptr), CUDA_ERROR_FILE_NOT_FOUND);
  CHECK_EQ(cuLinkAddData_v2(state, CU_JIT_INPUT_NVVM, jit.log.data(), 4, nullptr, 0, nullptr, nullptr),
           CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLinkAddData_v2(state, CU_JIT_INPUT_OBJECT, jit.log.data(), 4, nullptr, 0, nullptr, nullptr),
           CUDA_ERROR_NO_BINARY_FOR_GPU);
  OK(add(state, kUser));
  void* cubin = nullptr;
  CHECK_EQ(cuLinkComplete(state, &cubin, nullptr), CUDA_ERROR_INVALID_PTX);
  CHECK(std::string(jit.log.data()).find("function 'answer' is declared and defined nowhere") != std::string::npos);
  OK(cuLinkDestroy(state));
  CHECK_EQ(cuLinkComplete(state, &cubin, nullptr), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("modules and libraries enumerate their functions and kernels") {
  const TestContext context;
  const std::string text = kHeader + kStore + ".visible .entry other() { ret; }\n";
  CUmodule module = nullptr;
  OK(cuModuleLoadData(&module, text.c_str()));
  std::array<CUfunction, 3> functions{};
  OK(cuModuleEnumerateFunctions(functions.data(), 3, module));
  const char* name = nullptr;
  OK(cuFuncGetName(&name, functions[1]));
  CHECK_EQ(std::string(name), "other");
  CHECK_EQ(functions[2], nullptr);
  OK(cuModuleUnload(module));
  CUlibrary library = nullptr;
  OK(cuLibraryLoadData(&library, text.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0));
  std::array<CUkernel, 1> kernels{};
  OK(cuLibraryEnumerateKernels(kernels.data(), 1, library));
  OK(cuKernelGetName(&name, kernels[0]));
  CHECK_EQ(std::string(name), "store");
  CUdeviceptr at = 0;
  CHECK_EQ(cuLibraryGetManaged(&at, nullptr, library, "none"), CUDA_ERROR_NOT_FOUND);
  OK(cuLibraryUnload(library));
}

TEST_CASE("a variable that starts with the address of another has it in device memory") {
  const TestContext context;
  const std::string text =
      std::string(kHeader) + ".visible .global .u32 words[4];\n.visible .global .u64 where = words+8;\n";
  CUmodule module = nullptr;
  OK(cuModuleLoadData(&module, text.c_str()));
  CUdeviceptr words = 0, where = 0;
  OK(cuModuleGetGlobal_v2(&words, nullptr, module, "words"));
  OK(cuModuleGetGlobal_v2(&where, nullptr, module, "where"));
  CUdeviceptr held = 0;
  OK(cuMemcpyDtoH_v2(&held, where, sizeof held));
  CHECK_EQ(held, words + 8);
  OK(cuModuleUnload(module));
}

}  // namespace
}  // namespace lull::sim::test

// Loads, stores and atomics in every space, and addresses that are wrong.

#include <sys/mman.h>
#include <unistd.h>
#include <csetjmp>
#include <csignal>

#include <algorithm>
#include <numeric>

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {
namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr unsigned kThreads = 200;

// %r0 the thread number, %a and %b the parameters.
std::string kernel(std::string_view body, std::string_view before = "") {
  return std::string(before) +
         ".visible .entry k(.param .u64 a_, .param .u64 b_)\n{\n  .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<20>; "
         ".reg .f32 %f<9>; .reg .f64 %d<5>;\n"
         "  .reg .b64 %rd<20>, %a, %b;\n  ld.param.u64 %a, [a_];\n  ld.param.u64 %b, [b_];\n  mov.u32 %r0, %tid.x;\n" +
         std::string(body) + "\n  ret;\n}\n";
}

TEST_CASE("narrow loads extend by zero or sign, narrow stores keep the low part") {
  std::vector<u8> in(kThreads);
  std::iota(in.begin(), in.end(), u8{60});
  std::vector<u64> out(kThreads * 4);
  const auto text = kernel(R"(
    cvt.u64.u32 %rd0, %r0; add.u64 %a, %a, %rd0; mad.lo.u64 %b, %rd0, 32, %b;
    ld.global.u8 %r1, [%a]; ld.global.s8 %r2, [%a]; ld.global.s8 %rd1, [%a]; ld.global.b8 %h1, [%a]; ld.global.s8 %h2, [%a];
    st.global.u32 [%b], %r1; st.global.u32 [%b+4], %r2; st.global.u64 [%b+8], %rd1; st.global.u16 [%b+16], %h1; st.global.u16 [%b+18], %h2;
    mov.u32 %r3, 0x12345678; add.u32 %r3, %r3, %r0;
    st.global.u8 [%b+20], %r3; st.global.u16 [%b+22], %r3; st.global.u8 [%b+24], %rd1;
  )");
  REQUIRE(run_text(text, 1, kThreads, in.data(), out.data()) == Outcome::ok);
  for (unsigned i = 0; i < kThreads; ++i) {
    std::array<u8, 32> bytes;
    std::memcpy(bytes.data(), &out[i * 4], bytes.size());
    const auto at = [&]<class T>(std::size_t offset, T) {
      T value;
      std::memcpy(&value, bytes.data() + offset, sizeof value);
      return value;
    };
    const auto narrow = static_cast<std::int8_t>(in[i]);
    CHECK(at(0, u32{}) == in[i]);
    CHECK(at(4, std::int32_t{}) == narrow);
    CHECK(at(8, std::int64_t{}) == narrow);
    CHECK(at(16, u16{}) == in[i]);
    CHECK(at(18, std::int16_t{}) == narrow);
    CHECK(bytes[20] == static_cast<u8>(0x78 + i));
    CHECK(bytes[21] == 0);
    CHECK(at(22, u16{}) == static_cast<u16>(0x5678 + i));
    CHECK(bytes[24] == in[i]);
  }
}

// Copies kThreads elements of `words` x 32 or 64 bits, by an order of the threads.
std::vector<u32> copied(const std::string& vector, const std::string& type, unsigned words, const std::string& order) {
  const unsigned bytes = words * (type == "b64" ? 8 : 4);
  std::vector<u32> in(kThreads * bytes / 4), out(in.size());
  std::iota(in.begin(), in.end(), 1U);
  const std::string prefix = type == "b64" ? "%rd" : "%r";
  std::string list;
  for (unsigned w = 0; w < words; ++w) list += (w == 0 ? "" : ", ") + prefix + std::to_string(10 + w);
  if (words > 1) list = "{" + list + "}";
  const std::string size = std::to_string(bytes);
  const std::string text = kernel(
      order + "  mul.wide.u32 %rd1, %r0, " + size + "; add.u64 %rd2, %a, %rd1; add.u64 %rd3, %b, %rd1;\n  ld.global" +
      vector + "." + type + " " + list + ", [%rd2];\n  st.global" + vector + "." + type + " [%rd3], " + list + ";\n");
  REQUIRE(run_text(text, 1, kThreads, in.data(), out.data()) == Outcome::ok);
  CHECK(out == in);
  return out;
}

TEST_CASE("vectors are loaded and stored whole, in order and out of order") {
  const std::string reversed = "  mov.u32 %r1, %ntid.x; sub.u32 %r0, %r1, %r0; sub.u32 %r0, %r0, 1;\n";
  for (const std::string& order : {std::string(), reversed}) {
    copied("", "b32", 1, order);
    copied("", "b64", 1, order);
    copied(".v2", "b32", 2, order);
    copied(".v4", "b32", 4, order);
    copied(".v2", "b64", 2, order);
    copied(".volatile.v2", "b32", 2, order);
  }
}

TEST_CASE("a vector load may overwrite its own address") {
  for (const u32 stride : {1U, 3U}) {  // neighbours, and not
    CAPTURE(stride);
    std::vector<u64> in(kThreads * 2 * 3), out(kThreads * 2);
    std::iota(in.begin(), in.end(), u64{1000});
    const auto text = kernel(
        "mul.wide.u32 %rd3, %r0, 16; mad.lo.u64 %rd1, %rd3, " + std::to_string(stride) +
        ", %a; ld.global.v2.u64 {%rd1, %rd2}, [%rd1]; add.u64 %rd3, %rd3, %b; st.global.v2.u64 [%rd3], {%rd1, %rd2};");
    REQUIRE(run_text(text, 1, kThreads, in.data(), out.data()) == Outcome::ok);
    for (u64 i = 0; i < out.size(); ++i) CHECK(out[i] == 1000 + i / 2 * 2 * stride + i % 2);
  }
}

TEST_CASE("parameters have the layout of a C structure") {
  const Module module = module_of(
      ".entry k(.param .u8 a, .param .u64 b, .param .u16 c, .param .align 8 .b8 d[12], .param .f32 e) { ret; }");
  const auto& parameters = module.kernels[0].parameters;
  const std::size_t offsets[] = {0, 8, 16, 24, 36}, sizes[] = {1, 8, 2, 12, 4};
  REQUIRE(parameters.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(parameters[i].offset == offsets[i]);
    CHECK(parameters[i].size == sizes[i]);
  }
  CHECK(module.kernels[0].parameter_bytes == 40);
}

TEST_CASE("parameters are read in parts, as vectors, and extended") {
  struct {
    std::int8_t small = -5;
    u32 words[4] = {1, 2, 3, 4};
  } const in;
  std::vector<u32> out(5);
  const std::string text =
      ".entry k(.param .u64 out, .param .align 4 .b8 all[20]) { .reg .b64 %b; .reg .b32 %r<6>; ld.param.u64 %b, [out];"
      "ld.param.s8 %r1, [all]; ld.param.u32 %r2, [all+4]; ld.param.u32 %r3, [all+16]; ld.param.v2.u32 {%r4, %r5}, "
      "[all+8];"
      "st.global.u32 [%b], %r1; st.global.u32 [%b+4], %r2; st.global.u32 [%b+8], %r3; st.global.u32 [%b+12], %r4; "
      "st.global.u32 [%b+16], %r5; }";
  REQUIRE(run_text(text, 1, 1, out.data(), in) == Outcome::ok);
  CHECK(out == std::vector<u32>{static_cast<u32>(-5), 1, 4, 2, 3});
}

TEST_CASE("variables of the module keep initial values, addresses and kind") {
  const Module module = module_of(R"(
    .visible .global .align 16 .u32 table[4] = {1, 2, 0xFFFFFFFF, -4};
    .const .f32 half = 0.5;
    .const .align 8 .f64 reals[3] = {1.5, 0d4000000000000000};
    .global .b8 text[] = {104, 105, 0};
    .global .u64 counter;
  )" + kernel(R"(
    mov.u64 %rd1, table; mul.wide.u32 %rd2, %r0, 4; add.u64 %rd1, %rd1, %rd2; ld.global.u32 %r1, [%rd1];
    cvta.global.u64 %rd5, table; cvta.to.global.u64 %rd5, %rd5; ld.global.u32 %r4, [%rd5+12]; add.u32 %r1, %r1, %r4;
    ld.const.f32 %f1, [half]; cvt.rzi.u32.f32 %r2, %f1; add.u32 %r1, %r1, %r2;
    ld.const.f64 %d1, [reals+8]; cvt.rzi.u32.f64 %r2, %d1; add.u32 %r1, %r1, %r2;
    ld.u8 %r3, [text+1]; add.u32 %r1, %r1, %r3;
    mul.wide.u32 %rd2, %r0, 4; add.u64 %rd3, %a, %rd2; st.global.u32 [%rd3], %r1;
    red.global.add.u64 [counter], 1;
  )"));
  REQUIRE(module.variables.size() == 5);
  CHECK(module.variables[0].align == 16);
  CHECK(module.variables[1].constant);
  CHECK_FALSE(module.variables[3].constant);
  CHECK(module.variables[2].size == 24);
  CHECK(module.variables[2].initial.size() == 16);
  CHECK(module.variables[3].size == 3);
  std::vector<std::vector<u64>> memory;  // 8-byte words, so that every variable is aligned
  std::vector<std::byte*> addresses;
  for (const Variable& variable : module.variables) {
    memory.emplace_back(variable.size / 8 + 1);
    addresses.push_back(reinterpret_cast<std::byte*>(memory.back().data()));
    std::copy(variable.initial.begin(), variable.initial.end(), addresses.back());
  }
  std::vector<u32> out(4);
  const Arguments flat(out.data(), out.data());
  REQUIRE(run(module, module.kernels[0],
              {.block = {4, 1, 1}, .parameters = flat.data(), .variable_addresses = addresses}) == Outcome::ok);
  constexpr u32 kRest = static_cast<u32>(-4) + 0 + 2 + 105;
  CHECK(out == std::vector<u32>{1 + kRest, 2 + kRest, 0xFFFFFFFFU + kRest, static_cast<u32>(-4) + kRest});
  CHECK(memory[4][0] == 4);
}

TEST_CASE("static and dynamic shared memory, by offset and by generic address") {
  std::vector<u64> out(64);
  const Module module = module_of(kernel(R"(
    .shared .align 8 .b64 fixed[64]; .shared .b8 odd[3];
    mov.u64 %rd1, fixed; mov.u32 %r1, dynamic; cvta.shared.u64 %rd2, dynamic;
    mul.wide.u32 %rd3, %r0, 8; add.u64 %rd1, %rd1, %rd3; add.u64 %rd2, %rd2, %rd3;
    cvt.u64.u32 %rd4, %r0;
    st.shared.u64 [%rd1], %rd4; mad.lo.u64 %rd5, %rd4, 3, 1; st.u64 [%rd2], %rd5;
    mov.u32 %r9, odd; st.shared.u8 [odd+2], %r9;
    bar.sync 0;
    mov.u32 %r2, 63; sub.u32 %r2, %r2, %r0; shl.b32 %r2, %r2, 3; add.u32 %r1, %r1, %r2;
    ld.shared.u64 %rd6, [%r1]; cvta.to.shared.u64 %rd7, %rd2; cvta.shared.u64 %rd8, %rd7; ld.u64 %rd9, [%rd8];
    ld.shared.u64 %rd10, [%rd1]; add.u64 %rd6, %rd6, %rd9; add.u64 %rd6, %rd6, %rd10;
    add.u64 %rd11, %a, %rd3; st.global.u64 [%rd11], %rd6;
  )",
                                         ".extern .shared .align 16 .b8 dynamic[];\n"));
  CHECK(module.kernels[0].shared_bytes == 528);  // 64 * 8 + 3, then dynamic memory at a multiple of 16
  const Arguments flat(out.data(), out.data());
  Launch launch{.block = {64, 1, 1}, .dynamic_shared = 512, .parameters = flat.data()};
  REQUIRE(run(module, module.kernels[0], launch) == Outcome::ok);
  for (u64 i = 0; i < 64; ++i) CHECK(out[i] == (63 - i) * 3 + 1 + i * 3 + 1 + i);
  launch.dynamic_shared = 504;
  CHECK(run(module, module.kernels[0], launch) == Outcome::bad_address);
}

TEST_CASE("shared variables of the module take room in the kernels that use them") {
  const Module module = module_of(
      ".shared .b32 big[100]; .shared .b32 small[2]; .entry a { .reg .b32 %r; ld.shared.u32 %r, [small]; } .entry b { "
      "ret; }");
  CHECK(module.find("a")->shared_bytes == 8);
  CHECK(module.find("b")->shared_bytes == 0);
  CHECK(module.find("c") == nullptr);
}

TEST_CASE("every thread has local memory of its own") {
  std::vector<u32> out(300);
  const auto text = kernel(R"(
    .local .align 4 .b32 mine[8];
    mov.u64 %rd1, mine; cvta.local.u64 %rd2, %rd1; and.b32 %r1, %r0, 7; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3;
    st.local.u32 [%rd4], %r0; st.local.u32 [mine], 5; bar.sync 0; add.u64 %rd5, %rd2, %rd3; ld.u32 %r2, [%rd5]; ld.local.u32 %r3, [mine+4];
    add.u32 %r2, %r2, %r3; mul.wide.u32 %rd6, %r0, 4; add.u64 %rd6, %a, %rd6; st.global.u32 [%rd6], %r2;
  )");
  REQUIRE(run_text(text, 1, 300, out.data(), nullptr) == Outcome::ok);
  for (u32 i = 0; i < 300; ++i) CHECK(out[i] == (i % 8 == 0 ? 5 : i) + (i % 8 == 1 ? i : 0));
}

// All threads apply the operation to one word; the new value of the word.
template <class T>
T after_atomic(const std::string& operation, T start, unsigned blocks, const std::string& setup,
               const std::string& operand, bool in_shared = false) {
  struct alignas(8) {
    T word;
  } memory{start};
  const std::string type = operation.substr(operation.rfind('.') + 1), width = type.substr(1);
  const std::string reg = type == "f32" ? "%f8" : type == "f64" ? "%d4" : sizeof(T) == 8 ? "%rd19" : "%r19";
  const std::string plain = "b" + width;
  const std::string body = in_shared ? "  .shared .align 8 .b64 cell; .reg ." + plain + " %tmp;\n ld.global." + plain +
                                           " %tmp, [%a]; st.shared." + plain + " [cell], %tmp; bar.sync 0;\n" + setup +
                                           "  atom.shared." + operation + " " + reg + ", [cell], " + operand +
                                           ";\n bar.sync 0; ld.shared." + plain + " %tmp, [cell]; st.global." + plain +
                                           " [%a], %tmp;\n"
                                     : setup + "  atom.global." + operation + " " + reg + ", [%a], " + operand + ";\n";
  CHECK(run_text(kernel(body), blocks, kThreads, &memory, nullptr) == Outcome::ok);
  return memory.word;
}

TEST_CASE("atomics of all threads add up, in global and in shared memory") {
  for (const bool in_shared : {false, true}) {
    CAPTURE(in_shared);
    const unsigned blocks = in_shared ? 1 : 3;
    const std::string id =
        "  mov.u32 %r1, %r0; cvt.u64.u32 %rd1, %r0; cvt.rn.f32.u32 %f1, %r0; cvt.rn.f64.u32 %d1, %r0; and.b32 %r2, "
        "%r0, 15; shl.b32 %r3, 1, %r2;\n";
    const u32 sum = blocks * kThreads * (kThreads - 1) / 2;
    CHECK(after_atomic<u32>("add.u32", 5, blocks, id, "%r1", in_shared) == 5 + sum);
    CHECK(after_atomic<std::int32_t>("add.s32", -5, blocks, id, "%r1", in_shared) ==
          static_cast<std::int32_t>(sum) - 5);
    CHECK(after_atomic<u64>("add.u64", u64{1} << 40, blocks, id, "%rd1", in_shared) == (u64{1} << 40) + sum);
    CHECK(after_atomic<float>("add.f32", 0.5F, blocks, id, "%f1", in_shared) == 0.5F + static_cast<float>(sum));
    CHECK(after_atomic<double>("add.f64", 0.5, blocks, id, "%d1", in_shared) == 0.5 + sum);
    CHECK(after_atomic<u32>("max.u32", 7, blocks, id, "%r1", in_shared) == kThreads - 1);
    CHECK(after_atomic<u32>("min.u32", 0xFFFFFFFF, blocks, id + "  add.u32 %r1, %r1, 3;\n", "%r1", in_shared) == 3);
    CHECK(after_atomic<std::int32_t>("min.s32", 0, blocks, id + "  neg.s32 %r1, %r1;\n", "%r1", in_shared) ==
          -static_cast<int>(kThreads - 1));
    CHECK(after_atomic<std::int64_t>("max.s64", -9, blocks, id, "%rd1", in_shared) == kThreads - 1);
    CHECK(after_atomic<u64>("min.u64", ~u64{0}, blocks, id, "%rd1", in_shared) == 0);
    CHECK(after_atomic<u32>("or.b32", 1U << 31, blocks, id, "%r3", in_shared) == 0x8000FFFF);
    CHECK(after_atomic<u32>("and.b32", 0xF0F0F0F0, blocks, id + "  or.b32 %r3, %r3, 0xFF000000;\n", "%r3", in_shared) ==
          0xF0000000);
    CHECK(after_atomic<u64>("xor.b64", 3, blocks, id, "%rd1", in_shared) == (blocks == 1 ? 3 : 3 ^ 0));
    CHECK(after_atomic<u32>("exch.b32", 0, blocks, id, "%r1", in_shared) == kThreads - 1);
    CHECK(after_atomic<u32>("inc.u32", 0, blocks, id, "6", in_shared) == blocks * kThreads % 7);
    CHECK(after_atomic<u32>("dec.u32", 0, blocks, id, "6", in_shared) == (7 - blocks * kThreads % 7) % 7);
    CHECK(after_atomic<u32>("cas.b32", 0, blocks, id + "  add.u32 %r4, %r1, 1;\n", "%r1, %r4", in_shared) == kThreads);
  }
}

TEST_CASE("an atomic returns the old value to every lane, red returns nothing") {
  u32 counter = 100;
  std::vector<u32> out(kThreads);
  const auto text = kernel(R"(
    atom.add.u32 %r1, [%a], 2; setp.lt.u32 %p1, %r0, 50; @%p1 red.global.max.u32 [%a], 5000;
    mul.wide.u32 %rd1, %r0, 4; add.u64 %rd1, %b, %rd1; st.global.u32 [%rd1], %r1;
  )");
  REQUIRE(run_text(text, 1, 100, &counter, out.data()) == Outcome::ok);
  for (u32 i = 0; i < 100; ++i) CHECK(out[i] == 100 + 2 * i);
  CHECK(counter == 5000);
}

TEST_CASE("a misaligned address ends the launch before memory is touched") {
  std::vector<u64> memory(8, 1);
  const std::vector<u64> before = memory;
  CHECK(run_text(kernel("st.global.u32 [%a+2], 7;"), 1, 1, memory.data(), nullptr) == Outcome::misaligned);
  CHECK(run_text(kernel("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%a+4];"), 1, 1,
                 reinterpret_cast<u64>(memory.data()) & ~u64{15}, nullptr) == Outcome::misaligned);
  CHECK(run_text(kernel("atom.global.add.u64 %rd1, [%a+4], 1;"), 1, 1, memory.data(), nullptr) == Outcome::misaligned);
  CHECK(run_text(kernel("add.u64 %a, %a, 1; @%p1 st.global.u32 [%a], 7;"), 1, 64, memory.data(), nullptr) ==
        Outcome::ok);
  const auto odd_offset = kernel(
      "mul.wide.u32 %rd1, %r0, 2; add.u64 %rd1, %a, %rd1; and.b32 %r2, %r0, 3; setp.ne.u32 %p1, %r2, 1; @%p1 "
      "st.global.u32 [%rd1], 7;");
  CHECK(run_text(odd_offset, 1, 8, memory.data(), nullptr) == Outcome::misaligned);
  CHECK(memory == before);
}

TEST_CASE("an address outside shared or local memory ends the launch") {
  CHECK(run_text(kernel(".shared .b32 s[4]; st.shared.u32 [s+16], 1;"), 1, 1, nullptr, nullptr) ==
        Outcome::bad_address);
  CHECK(run_text(kernel(".shared .b32 s[4]; st.shared.u32 [s+-4], 1;"), 1, 1, nullptr, nullptr) ==
        Outcome::bad_address);
  CHECK(run_text(kernel(".local .b32 s[4]; mul.wide.u32 %rd1, %r0, 4; ld.local.u32 %r1, [%rd1];"), 1, 5, nullptr,
                 nullptr) == Outcome::bad_address);
  CHECK(run_text(kernel("ld.shared.u8 %r1, [0];"), 1, 1, nullptr, nullptr) == Outcome::bad_address);
  // Lanes 0, 2 and 4 of five: the last one is outside.
  const auto even = [](std::string_view bytes) {
    return kernel(".shared .b8 s[" + std::string(bytes) +
                  "]; mov.u32 %r1, s; mad.lo.u32 %r1, %r0, 4, %r1; and.b32 %r2, %r0, 1; setp.eq.u32 %p1, %r2, 0; @%p1 "
                  "st.shared.u32 [%r1], 1;");
  };
  CHECK(run_text(even("20"), 1, 5, nullptr, nullptr) == Outcome::ok);
  CHECK(run_text(even("16"), 1, 5, nullptr, nullptr) == Outcome::bad_address);
  CHECK(run_text(kernel(".shared .b32 s[4]; st.shared.u32 [s+12], 1;"), 1, 1, nullptr, nullptr) == Outcome::ok);
}

sigjmp_buf leave_kernel;
void* faulted_at = nullptr;
void jump_out(int, siginfo_t* info, void*) {
  faulted_at = info->si_addr;
  siglongjmp(leave_kernel, 1);
}

// Whether the kernel faulted. Sanitizers handle the signal themselves unless it is taken from them, as here.
bool faults(std::string_view text, void* a) {
  struct sigaction action {
  }, previous_segv{}, previous_bus{};
  action.sa_sigaction = jump_out;
  action.sa_flags = SA_SIGINFO;
  REQUIRE(sigaction(SIGSEGV, &action, &previous_segv) == 0);
  REQUIRE(sigaction(SIGBUS, &action, &previous_bus) == 0);
  const Module module = module_of(text);
  const Arguments flat(a, a);
  volatile bool faulted = true;
  if (sigsetjmp(leave_kernel, 1) == 0) {
    CHECK(run(module, module.kernels[0], {.block = {256, 1, 1}, .parameters = flat.data()}) == Outcome::ok);
    faulted = false;
  }
  REQUIRE(sigaction(SIGSEGV, &previous_segv, nullptr) == 0);
  REQUIRE(sigaction(SIGBUS, &previous_bus, nullptr) == 0);
  return faulted;
}

TEST_CASE("a kernel may be left by a jump out of the signal of a bad access, and the next one runs") {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  auto* const memory = static_cast<std::byte*>(mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(memory != MAP_FAILED);
  const auto text = kernel(
      ".shared .b32 s[300]; mul.wide.u32 %rd1, %r0, 4; add.u64 %rd1, %a, %rd1; bar.sync 0; ld.global.u32 %r1, [%rd1]; "
      "add.u32 %r1, %r1, 1; st.global.u32 [%rd1], %r1;");
  for (int round = 0; round < 3; ++round) {
    REQUIRE(mprotect(memory, page, PROT_NONE) == 0);
    CHECK(faults(text, memory));
    CHECK(faulted_at == memory);
    REQUIRE(mprotect(memory, page, PROT_READ) == 0);
    CHECK(faults(text, memory));
    REQUIRE(mprotect(memory, page, PROT_READ | PROT_WRITE) == 0);
    CHECK_FALSE(faults(text, memory));
  }
  u32 last = 0;
  std::memcpy(&last, memory + 255 * 4, sizeof last);
  CHECK(last == 3);
  REQUIRE(munmap(memory, page) == 0);
}

}  // namespace
}  // namespace lull::ptx::test

// Functions: parameters and results, recursion and its bound, lanes that call from different places, and links of
// texts.

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr unsigned kThreads = 160;

// %r0 the thread; what the body leaves in %r1 becomes its word of the result.
std::string entry(std::string_view body) {
  return ".visible .entry k(.param .u64 out_)\n{\n  .reg .pred %p<5>; .reg .b32 %r<20>; .reg .b64 %rd<9>;\n"
         "  mov.u32 %r0, %tid.x;\n" +
         std::string(body) +
         "\n  mul.wide.u32 %rd0, %r0, 4;\n  ld.param.u64 %rd1, [out_];\n  add.u64 %rd1, %rd1, %rd0;\n"
         "  st.global.u32 [%rd1], %r1;\n  ret;\n}\n";
}

std::vector<u32> results_of(const std::string& text) {
  std::vector<u32> out(kThreads);
  REQUIRE(run_text(text, 1, kThreads, out.data()) == Outcome::ok);
  return out;
}

constexpr std::string_view kSquare = ".func (.reg .u32 result) square(.reg .u32 a) { mul.lo.u32 result, a, a; ret; }\n";

TEST_CASE("a function takes and returns registers") {
  const auto out = results_of(std::string(kSquare) + entry("call.uni (%r1), square, (%r0);"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == i * i);
}

TEST_CASE("a function takes numbers as arguments and may be called from several places") {
  const auto out = results_of(std::string(kSquare) +
                              entry("call (%r2), square, (12); call (%r3), square, (%r0); add.u32 %r1, %r2, %r3;"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == 144 + i * i);
}

TEST_CASE("parameters and results are passed in .param variables, in parts as well") {
  const auto out = results_of(R"(
.func (.param .align 8 .b8 result[16]) swap(.param .align 8 .b8 pair[16], .param .u32 add) {
  .reg .b64 %rd<3>; .reg .b32 %r1;
  ld.param.u64 %rd1, [pair]; ld.param.u64 %rd2, [pair+8]; ld.param.u32 %r1, [add];
  cvt.u64.u32 %rd0, %r1; add.u64 %rd1, %rd1, %rd0;
  st.param.v2.u64 [result], {%rd2, %rd1};
  ret;
}
)" + entry(R"(
  { .param .align 8 .b8 in[16]; .param .u32 n; .param .align 8 .b8 back[16];
    cvt.u64.u32 %rd2, %r0; st.param.u64 [in], %rd2; st.param.u64 [in+8], 1000; st.param.u32 [n], 5;
    call.uni (back), swap, (in, n);
    ld.param.u64 %rd3, [back]; ld.param.u64 %rd4, [back+8]; }
  mul.lo.u64 %rd5, %rd3, %rd4; cvt.u32.u64 %r1, %rd5;)"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == 1000 * (i + 5));
}

TEST_CASE("a function may be declared before it is defined, and call others") {
  const auto out = results_of(R"(
.func (.reg .u32 r) later(.reg .u32 a);
.func (.reg .u32 r) first(.reg .u32 a) { .reg .u32 t; call (t), later, (a); add.u32 r, t, 1; ret; }
)" + entry("call (%r1), first, (%r0);") +
                              ".func (.reg .u32 r) later(.reg .u32 a) { shl.b32 r, a, 3; }\n");
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == i * 8 + 1);
}

TEST_CASE("lanes that call the same function from different places come back each to its own") {
  const auto out = results_of(std::string(kSquare) + entry(R"(
  and.b32 %r2, %r0, 3; setp.eq.u32 %p1, %r2, 1; setp.eq.u32 %p2, %r2, 2; mov.u32 %r1, 7;
  @%p1 bra one;
  @%p2 call (%r1), square, (%r0);
  bra done;
one: add.u32 %r3, %r0, 100; call (%r1), square, (%r3); add.u32 %r1, %r1, 1;
done:)"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i % 4 == 1 ? (i + 100) * (i + 100) + 1 : i % 4 == 2 ? i * i : 7));
}

constexpr std::string_view kFibonacci = R"(
.func (.reg .u32 r) fibonacci(.reg .u32 n) {
  .reg .pred %small; .reg .u32 %a, %b, %m;
  setp.lt.u32 %small, n, 2; mov.u32 r, n; @%small ret;
  sub.u32 %m, n, 1; call (%a), fibonacci, (%m);
  sub.u32 %m, n, 2; call (%b), fibonacci, (%m);
  add.u32 r, %a, %b; ret;
}
)";

TEST_CASE("a recursive function keeps its registers over its own calls, each lane to its own depth") {
  const auto out = results_of(std::string(kFibonacci) + entry("rem.u32 %r2, %r0, 13; call (%r1), fibonacci, (%r2);"));
  constexpr std::array<u32, 13> want{0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144};
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == want[i % 13]);
}

TEST_CASE("every call in progress has local variables of its own") {
  const auto out = results_of(R"(
.func (.reg .u32 r) sum(.reg .u32 n) {
  .local .u32 mine; .reg .pred %end; .reg .u32 %t, %m; .reg .u64 %rd1;
  mov.u64 %rd1, mine; st.local.u32 [%rd1], n; mov.u32 r, 0;
  setp.eq.u32 %end, n, 0; @%end ret;
  sub.u32 %m, n, 1; call (%t), sum, (%m);
  ld.local.u32 %m, [mine]; add.u32 r, %t, %m; ret;
}
)" + entry("rem.u32 %r2, %r0, 50; call (%r1), sum, (%r2);"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == i % 50 * (i % 50 + 1) / 2);
}

TEST_CASE("recursion without end overflows the stack") {
  std::vector<u32> out(kThreads);
  const std::string text = ".func f(.reg .u32 n) { call f, (n); ret; }\n" + entry("call f, (%r0);");
  CHECK(run_text(text, 1, kThreads, out.data()) == Outcome::stack_overflow);
}

TEST_CASE("a function uses shared memory and barriers of its block") {
  const auto out = results_of(R"(
.shared .b32 common[160];
.func put(.reg .u32 i, .reg .u32 v) { .reg .u32 %a; .shared .u32 own; mov.u32 %a, common; mad.lo.u32 %a, i, 4, %a;
  st.shared.u32 [%a], v; st.shared.u32 [own], v; bar.sync 0; ret; }
)" + entry("mul.lo.u32 %r2, %r0, 3; call put, (%r0, %r2); mov.u32 %r3, common; sub.u32 %r4, 159, %r0; "
           "mad.lo.u32 %r3, %r4, 4, %r3; ld.shared.u32 %r1, [%r3];"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (159 - i) * 3);
}

TEST_CASE("exit in a function ends the thread, not the call") {
  const auto out = results_of(".func leave(.reg .u32 i) { .reg .pred %p; setp.gt.u32 %p, i, 9; @%p exit; ret; }\n" +
                              entry("call leave, (%r0); mov.u32 %r1, 5;"));
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i > 9 ? 0 : 5));
}

TEST_CASE("the wrong number or kind of arguments is an error with its place") {
  const auto message = [](std::string_view call) {
    const auto parsed = parse(std::string(kHeader) + std::string(kSquare) + entry(call));
    const auto* const error = std::get_if<Error>(&parsed);
    return error == nullptr ? "none" : std::to_string(error->line) + ": " + error->message;
  };
  CHECK(message("call (%r1), square, (%r0, %r0);") == "9: 'square' has 1 parameters, the call has 2");
  CHECK(message("call square, (%r0);") == "9: 'square' has 1 results, the call has 0");
  CHECK(message("call (%r1), square, (%rd0);") == "9: '%rd0' is .b64, the instruction takes .u32 here");
  CHECK(message("{ .param .u64 wide; call (%r1), square, (wide); }") == "9: 'wide' has 8 bytes, the parameter 4");
}

std::string text_of(std::string_view body) { return std::string(kHeader) + std::string(body); }

TEST_CASE("texts are linked by .extern declarations of what others define .visible") {
  const std::string user =
      text_of(".extern .func (.reg .u32 r) twice(.reg .u32 a);\n.extern .global .u32 step;\n" +
              entry("call (%r1), twice, (%r0); ld.global.u32 %r2, [step]; add.u32 %r1, %r1, %r2;"));
  const std::string maker = text_of(
      ".visible .global .u32 step = 7;\n.func (.reg .u32 r) help(.reg .u32 a) { add.u32 r, a, a; ret; }\n"
      ".visible .func (.reg .u32 r) twice(.reg .u32 a) { call (r), help, (a); ret; }\n");
  const std::array<std::string_view, 2> texts{user, maker};
  std::size_t failing = 0;
  const auto linked = link(texts, {}, failing);
  const auto* const module = std::get_if<Module>(&linked);
  REQUIRE(module != nullptr);
  REQUIRE(module->variables.size() == 1);
  u32 step = 7;
  std::byte* const addresses[] = {reinterpret_cast<std::byte*>(&step)};
  std::vector<u32> out(kThreads);
  const Arguments flat(out.data());
  REQUIRE(run(*module, module->kernels.at(0),
              {.block = {kThreads, 1, 1}, .parameters = flat.data(), .variable_addresses = addresses}) == Outcome::ok);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == 2 * i + 7);
}

TEST_CASE(
    "a weak function gives way, two visible ones of a name are an error, and each text keeps its own private one") {
  const std::string user =
      text_of(".extern .func (.reg .u32 r) f();\n.func (.reg .u32 r) g() { mov.u32 r, 1; ret; }\n" +
              entry("call (%r2), f, (); call (%r3), g, (); mad.lo.u32 %r1, %r2, 10, %r3;"));
  const std::string weak = text_of(".weak .func (.reg .u32 r) f() { mov.u32 r, 2; ret; }");
  const std::string strong = text_of(
      ".func (.reg .u32 r) g() { mov.u32 r, 9; ret; }\n.visible .func (.reg .u32 r) f() { call (r), g, (); ret; }");
  const auto linked = [](std::initializer_list<std::string_view> all) {
    const std::vector<std::string_view> texts(all);
    std::size_t failing = 0;
    auto out = link(texts, {}, failing);
    return std::pair(std::move(out), failing);
  };
  const auto value = [&](std::initializer_list<std::string_view> all) {
    const auto [result, failing] = linked(all);
    const auto& module = std::get<Module>(result);
    std::vector<u32> out(kThreads);
    const Arguments flat(out.data());
    REQUIRE(run(module, module.kernels.at(0), {.block = {kThreads, 1, 1}, .parameters = flat.data()}) == Outcome::ok);
    return out[5];
  };
  CHECK(value({user, weak}) == 21);
  CHECK(value({user, weak, strong}) == 91);
  CHECK(value({user, strong, weak}) == 91);
  const auto [result, failing] = linked({user, strong, strong});
  REQUIRE(std::holds_alternative<Error>(result));
  CHECK(std::get<Error>(result).message == "function 'f' is defined in two of the linked texts");
  CHECK(failing == 2);
}

TEST_CASE("a declaration that differs from the definition in another text is an error") {
  const std::string user = text_of(".extern .func f(.reg .u64 a);\n.entry k { .reg .u64 %a; call f, (%a); ret; }");
  const std::string maker = text_of(".visible .func f(.reg .u32 a) { ret; }");
  const std::array<std::string_view, 2> texts{user, maker};
  std::size_t failing = 9;
  const auto linked = link(texts, {}, failing);
  REQUIRE(std::holds_alternative<Error>(linked));
  CHECK(std::get<Error>(linked).message == "function 'f' is defined with other parameters than declared here");
  CHECK(failing == 0);
}

TEST_CASE("a text for a newer architecture than the device's is refused, one for an older is taken") {
  const auto parsed = [](std::string_view target, unsigned device) {
    return parse(".version 8.0 .target " + std::string(target) + " .address_size 64 .entry k { ret; }",
                 {.target = device});
  };
  CHECK(std::holds_alternative<Module>(parsed("sm_75", 86)));
  CHECK(std::holds_alternative<Module>(parsed("sm_86", 86)));
  CHECK(std::holds_alternative<Error>(parsed("sm_90", 86)));
  CHECK(std::holds_alternative<Module>(parsed("sm_90a", 90)));
  CHECK(std::holds_alternative<Error>(parsed("sm_90a", 100)));
  CHECK(std::get<Error>(parsed("sm_90", 86)).message == "the text is for 'sm_90', this device is sm_86");
}

TEST_CASE("the initial value of a variable may hold addresses of others") {
  const Module module = module_of(".global .u32 a[4]; .const .u64 table[3] = {a, generic(a)+8, 5}; .entry k { ret; }");
  const Variable& table = module.variables.at(1);
  REQUIRE(table.addresses.size() == 2);
  CHECK(table.addresses[0].offset == 0);
  CHECK(table.addresses[1].offset == 8);
  CHECK(table.addresses[1].variable == 0);
  CHECK(table.addresses[1].addend == 8);
}

}  // namespace
}  // namespace lull::ptx::test

// What the parser answers to wrong text: where it is wrong and what is wrong with it. And that any text gets an answer.

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {
namespace {

struct Wrong {
  std::string_view text;
  int line;
  int column;
  std::string_view message;
};

// A kernel body on line 4 of the text, after its declarations.
constexpr std::string_view kBefore =
    ".version 6.3 .target sm_75\n.address_size 64\n.global .u32 word; .const .u32 fixed; .entry k(.param .u64 a, "
    ".param .u32 n) { "
    ".reg .pred %p; .reg .b16 %h; .reg .b32 %r<4>; .reg .u32 %u; .reg .f32 %f; .reg .b64 %rd<4>; .reg .f64 %d; .shared "
    ".b32 s[4];\n";

const Wrong kWrongModules[] = {
    {"", 1, 1, "PTX starts with .version, for example .version 6.3"},
    {".target sm_75", 1, 1, "PTX starts with .version, for example .version 6.3"},
    {".version 6.33 .target sm_75", 1, 10, "expected a version such as 6.3, found '6.33'"},
    {".version 6e1 .target sm_75", 1, 10, "expected a version such as 6.3, found '6e1'"},
    {".version six", 1, 10, "expected a version such as 6.3, found 'six'"},
    {".version 6.3\n.address_size 64", 2, 1, "expected .target after .version, for example .target sm_75"},
    {".version 6.3\n.target 75", 2, 9, "expected an architecture such as sm_75, found '75'"},
    {".version 6.3 .target sm_75\n.entry k", 2, 1, "expected .address_size 64 after .target"},
    {".version 6.3 .target sm_75 .address_size 32", 1, 42, "only .address_size 64 is supported"},
    {".version 6.3 .target sm_75 .address_size 64 .func f", 1, 52,
     "expected '{' before the body of the kernel, found the end of the text"},
    {".version 6.3 .target sm_75 .address_size 64 .extern .func f {}", 1, 59, "an .extern function has no body here"},
    {".version 6.3 .target sm_75 .address_size 64 .extern .entry f;", 1, 53,
     "only functions and variables are declared .extern, found '.entry'"},
    {".version 6.3 .target sm_x5 .address_size 64", 1, 22, "expected an architecture such as sm_75, found 'sm_x5'"},
    {".version 6.3 .target sm_75 .address_size 64 .func f(.reg .u32 a); .func f(.reg .u64 a) {}", 1, 73,
     "'f' is declared with other parameters before"},
    {".version 6.3 .target sm_75 .address_size 64 .func f {} .func f {}", 1, 62, "function 'f' is there twice"},
    {".version 6.3 .target sm_75 .address_size 64 .func f(.u32 a) {}", 1, 53, "expected .reg or .param, found '.u32'"},
    {".version 6.3 .target sm_75 .address_size 64 .func f; .entry k { call f; }", 1, 70,
     "function 'f' is declared and defined nowhere"},
    {".version 6.3 .target sm_75 .address_size 64 .extern .global .u32 v; .entry k { ret; }", 1, 66,
     "variable 'v' is declared .extern and defined nowhere"},
    {".version 6.3 .target sm_75 .address_size 64 .section .debug { 1, 2", 1, 67,
     "section '.debug' does not end: } is missing"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u32 a; .global .u32 b = a;", 1, 78,
     "the address of 'a' needs a 64-bit word"},
    {".version 6.3 .target sm_75 .address_size 64\nhello", 2, 1, "expected .entry, .func or a variable, found 'hello'"},
    {".version 6.3 .target sm_75 .address_size 64 .entry", 1, 51,
     "expected the name of a kernel, found the end of the text"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k(.param .u32 a, .param .u32 a) {}", 1, 81,
     "'a' is declared twice"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k(.param .b8 a[5000]) {}", 1, 65,
     "the parameters exceed 4096 bytes"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k(.param .texref a) {}", 1, 61,
     "expected a type such as .u32, found '.texref' (vectors and opaque types are not supported)"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k {\n ret;", 1, 54,
     "the body of kernel 'k' does not end: } is missing"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k { ret; } .entry k { ret; }", 1, 70,
     "kernel 'k' is there twice"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k .maxntid 2048 {}", 1, 63,
     "expected a block dimension, a number up to 1024, found '2048'"},
    {".version 6.3 .target sm_75 .address_size 64 .entry k .maxntid 64, 64 {}", 1, 63,
     ".maxntid allows 1 to 1024 threads"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u32 a; .global .f32 a;", 1, 74, "'a' is declared twice"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u32 a[2] = {1, 2, 3};", 1, 63,
     "more initial values than elements"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u32 a[];", 1, 58,
     "an array without initialiser needs its size"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u32 a[0];", 1, 60, "an array has at least one element"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u64 a[999999999999][99];", 1, 74, "the array is too large"},
    {".version 6.3 .target sm_75 .address_size 64 .global .align 3 .u32 a;", 1, 60, "an alignment is a power of two"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u8 a = 256;", 1, 61,
     "the number '256' does not fit type .u8"},
    {".version 6.3 .target sm_75 .address_size 64 .global .f32 a = 1;", 1, 62,
     "the integer '1' does not go with type .f32: write 1 as 1.0 or 0f3F800000"},
    {".version 6.3 .target sm_75 .address_size 64 .global .u64 a = b;", 1, 62,
     "'b' is no variable of global or constant memory"},
    {".version 6.3 .target sm_75 .address_size 64 .shared .u32 a = 1;", 1, 58, "shared variables have no initialiser"},
    {".version 6.3 .target sm_75 .address_size 64 /* no end", 1, 45, "comment without end: close it with */"},
    {".version 6.3 .target sm_75 .address_size 64 .file 1 \"x\n", 1, 53, "string without end: close it with \""},
    {".version 6.3 .target sm_75 .address_size 64 ?", 1, 45, "a character that PTX does not use"},
};

const Wrong kWrongBodies[] = {
    {"frobnicate.u32 %r1, %r2;", 4, 1, "unknown instruction 'frobnicate.u32'"},
    {"add.rna.f32 %f, %f, %f;", 4, 1, "this form of 'add' is not supported: 'add.rna.f32'"},
    {"add.u32 %r1, %r2, %r9;", 4, 19, "register '%r9' is not declared"},
    {"add.u32 %r1, %r2, %r01;", 4, 19, "register '%r01' is not declared"},
    {"add.u32 %x, %r2, %r3;", 4, 9, "register '%x' is not declared"},
    {"add.u32 %r1, %r2, %rd1;", 4, 19, "'%rd1' is .b64, the instruction takes .u32 here"},
    {"add.u64 %rd1, %rd2, %r1;", 4, 21, "'%r1' is .b32, the instruction takes .u64 here"},
    {"add.f32 %f, %f, %u;", 4, 17, "'%u' is .u32, the instruction takes .f32 here"},
    {"add.u32 %u, %f, 1;", 4, 13, "'%f' is .f32, the instruction takes .u32 here"},
    {"selp.u32 %r1, 1, 2, %r2;", 4, 21, "'%r2' is .b32, the instruction takes .pred here"},
    {"add.u32 %r1, %r2, 0f3F800000;", 4, 19, "the real number '0f3F800000' does not go with type .u32"},
    {"add.f32 %f, %f, 1;", 4, 17, "the integer '1' does not go with type .f32: write 1 as 1.0 or 0f3F800000"},
    {"add.u32 %r1, %r2, 0x100000000;", 4, 19, "the number '0x100000000' does not fit type .u32"},
    {"add.u32 %r1, %r2, 99999999999999999999;", 4, 19, "number does not fit 64 bits"},
    {"add.u32 %r1, %r2, 09;", 4, 19, "malformed number"},
    {"mov.f32 %f, 0f3F8;", 4, 13, "0f takes exactly 8 hexadecimal digits"},
    {"add.u32 %r1, %r2;", 4, 17, "expected ',' between operands, found ';'"},
    {"add.u32 %r1, %r2, %r3", 4, 23, "expected ';' after the instruction, found '}'"},
    {"add.u32 1, %r2, %r3;", 4, 9, "expected a register, found '1'"},
    {"add.u32 %r1, %r2, n;", 4, 19, "'n' is a variable in .param memory, not a register: take its address with mov"},
    {"bra nowhere;", 4, 5, "no label 'nowhere' in this kernel"},
    {"l: ret; l: ret;", 4, 9, "label 'l' is there twice"},
    {"@%r1 bra l; l:", 4, 2, "'%r1' is .b32, the instruction takes .pred here"},
    {"@%q ret;", 4, 2, "register '%q' is not declared"},
    {"call f;", 4, 6, "function 'f' is not declared before its call"},
    {"call %rd1;", 4, 6, "calls through a register are not supported: name the function"},
    {"cvt.rn.ftz.f64.s32 %d, %r1;", 4, 1, "this form of 'cvt' is not supported: 'cvt.rn.ftz.f64.s32'"},
    {"add.ftz.f64 %d, %d, %d;", 4, 1, "this form of 'add' is not supported: 'add.ftz.f64'"},
    {"add.sat.u32 %u, %u, %u;", 4, 1, "this form of 'add' is not supported: 'add.sat.u32'"},
    {"lop3.b32 %r1, %r1, %r1, %r1, 256;", 4, 30, "expected the table of lop3, a number up to 255, found '256'"},
    {"st.param.u32 [n], %r1;", 4, 15, "a kernel cannot write its parameter 'n'"},
    {"ld.global.u32 %h, [%rd1];", 4, 15, "'%h' is .b16, the instruction takes .u32 here"},
    {"ld.global.f32 %d, [%rd1];", 4, 15, "'%d' is .f64, the instruction takes .f32 here"},
    {"ld.global.u32 %r1, [%r2];", 4, 21, "'%r2' is .b32, the instruction takes .b64 here"},
    {"ld.global.u32 %r1, [%d];", 4, 21, "'%d' is a real number, not an address"},
    {"ld.global.u32 %r1, [unknown];", 4, 21, "'unknown' is neither a register nor a variable"},
    {"ld.global.u32 %r1, [s];", 4, 21, "'s' is in .shared memory, the access is to .global"},
    {"ld.global.u32 %r1, [a];", 4, 21, "'a' is in .param memory, the access is to .global"},
    {"ld.global.u32 %r1, %rd1;", 4, 20, "expected '[' before an address, found '%rd1'"},
    {"ld.global.v2.u32 %r1, [%rd1];", 4, 18, "expected '{' before the words of a vector, found '%r1'"},
    {"ld.global.v8.u32 %r1, [%rd1];", 4, 1, "this form of 'ld' is not supported: 'ld.global.v8.u32'"},
    {"ld.param.u64 %rd1, [a+4];", 4, 21, "the access is outside of parameter 'a', which has 8 bytes"},
    {"ld.param.u64 %rd1, [n];", 4, 21, "the access is outside of parameter 'n', which has 4 bytes"},
    {"ld.param.u32 %r1, [a+2];", 4, 20, "the access to parameter 'a' is misaligned"},
    {"ld.param.u32 %r1, [%rd1];", 4, 20,
     "ld.param takes the name of a parameter; addresses in registers are not supported"},
    {"st.const.u32 [fixed], %r1;", 4, 1, "this form of 'st' is not supported: 'st.const.u32'"},
    {"mov.u32 %r1, word;", 4, 14, "the address of 'word' needs a 64-bit register"},
    {"mov.u64 %rd1, a;", 4, 15, "the address of parameter 'a' cannot be taken: read it with ld.param"},
    {"atom.global.nand.u32 %r1, [%rd1], 1;", 4, 1, "this form of 'atom' is not supported: 'atom.global.nand.u32'"},
    {"red.global.cas.b32 [%rd1], 1;", 4, 1, "this form of 'red' is not supported: 'red.global.cas.b32'"},
    {"bar.sync 16;", 4, 10,
     "expected the number of a barrier (registers are not supported here), a number up to 15, found '16'"},
    {"bar.sync 1, 33;", 4, 13, "a barrier waits for whole warps: a multiple of 32 threads"},
    {"cvt.f32.s32 %f, %r1;", 4, 1, "this form of 'cvt' is not supported: 'cvt.f32.s32'"},
    {".reg .b32 %r1, %r1;", 4, 16, "'%r1' is declared twice"},
    {".shared .b8 large[300000];", 4, 13, "more than 232448 bytes of shared memory"},
    {".local .b8 large[300000];", 4, 12, "more than 65536 bytes of local memory"},
    {".local .b32 x = 1;", 4, 13, "shared and local variables have no initialiser"},
    {".global .u32 x;", 4, 1, "directive '.global' is not supported in a kernel"},
    {"{ .reg .b32 %inner; } mov.u32 %inner, 1;", 4, 31, "register '%inner' is not declared"},
};

void check_error(const std::string& text, const Wrong& wrong) {
  CAPTURE(text);
  const auto parsed = parse(text);
  const auto* const error = std::get_if<Error>(&parsed);
  REQUIRE(error != nullptr);
  CHECK(error->message == wrong.message);
  CHECK(error->line == wrong.line);
  CHECK(error->column == wrong.column);
}

TEST_CASE("a wrong module is answered with the place and the reason") {
  for (const Wrong& wrong : kWrongModules) check_error(std::string(wrong.text), wrong);
}

TEST_CASE("a wrong kernel body is answered with the place and the reason") {
  for (const Wrong& wrong : kWrongBodies) check_error(std::string(kBefore) + std::string(wrong.text) + " }", wrong);
}

TEST_CASE("what the body of a kernel may say besides instructions") {
  const Module module = module_of(R"(
    .file 1 "a.cu", 123, 45
    .pragma "nounroll";
    .visible .entry k(.param .u64 .ptr .global .align 8 a) .reqntid 8, 4 .minnctapersm 2 .maxnreg 40 .pragma "x";
    {
      .loc 1 2 3
      .reg .b32 x, %y<2>, $z; // names need no %
      .pragma "unused";
      { .reg .b64 x; mov.u64 x, 0b11; { mov.b64 x, 017U; } }
      mov.u32 x, -1; ; /* a comment
        of two lines */ mov.b32 %y1, 0f3F800000; mov.b32 $z, WARP_SZ;
    }
  )" + std::string(""));
  CHECK(module.kernels[0].max_threads == 32);
  CHECK(module.kernels[0].registers == 4);
}

TEST_CASE("a billion declared registers cost nothing") {
  const Module module = module_of(".entry k { .reg .b64 %rd<1000000000>; mov.u64 %rd999999999, 1; }");
  CHECK(module.kernels[0].registers == 1);
}

// All of the grammar that the shared kernels use, in one module.
std::string everything() {
  return std::string(kHeader) +
         ".global .align 8 .u32 table[4] = {1, -2, 0x3};\n.extern .shared .align 16 .b8 dynamic[];\n" +
         std::string(kSaxpy) + std::string(kSgd) + std::string(kChecksum) + std::string(kHash);
}

TEST_CASE("a truncated text is an error, not a crash") {
  const std::string text = everything();
  const std::size_t last_kernel = text.find("hash128");
  unsigned errors = 0;
  for (std::size_t length = 0; length < text.size(); length += length < last_kernel ? 97 : 1) {
    const auto parsed = parse(std::string_view(text).substr(0, length));
    if (std::holds_alternative<Error>(parsed))
      ++errors;
    else
      CHECK(length + 2 >= text.size());  // only blanks are missing
  }
  CHECK(errors > 1000);
}

// One or two changes: a byte, a gap, a repetition, another sign.
std::string mutated(const std::string& text, Random& random) {
  std::string mutant = text;
  for (std::size_t changes = random.below(2) + 1; changes != 0; --changes) {
    // Drawn one by one: compilers differ in the order of arguments.
    const std::size_t at = random.below(mutant.size()), from = random.below(text.size()), length = random.below(20);
    switch (random.below(4)) {
      case 0: mutant[at] = static_cast<char>(random.next()); break;
      case 1: mutant.erase(at, length); break;
      case 2: mutant.insert(at, text.substr(from, length)); break;
      default: mutant[at] = "0123456789%.,;{}[]<>:@!-+"[random.below(25)]; break;
    }
  }
  return mutant;
}

TEST_CASE("a mutated text is parsed or refused") {
  const std::string text = everything();
  Random random(2024);
  unsigned refused = 0;
  for (int round = 0; round < 1500; ++round) {
    const auto parsed = parse(mutated(text, random));
    const auto* const error = std::get_if<Error>(&parsed);
    if (error == nullptr) continue;
    ++refused;
    REQUIRE(error->line >= 1);
    REQUIRE(error->column >= 1);
    REQUIRE_FALSE(error->message.empty());
  }
  CHECK(refused > 500);
  CHECK(refused < 1500);
}

// Touches registers, shared and local memory only, which are all within bounds whatever a mutation does.
constexpr std::string_view kHarmless = R"(
.entry k() {
  .reg .pred %p<3>; .reg .b32 %r<9>; .reg .f32 %f<3>;
  .shared .b32 s[160]; .local .b32 l[4];
  mov.u32 %r1, %tid.x;
  shl.b32 %r2, %r1, 2;
  mov.u32 %r3, s;
  add.u32 %r3, %r3, %r2;
  st.shared.u32 [%r3], %r1;
  bar.sync 0;
loop:
  ld.shared.u32 %r4, [%r3];
  and.b32 %r5, %r4, 12;
  st.local.u32 [%r5], %r4;
  cvt.rn.f32.u32 %f1, %r4;
  fma.rn.f32 %f2, %f1, 0f3F000000, %f1;
  atom.shared.add.u32 %r6, [s], 1;
  add.u32 %r1, %r1, 8;
  setp.lt.u32 %p1, %r1, 200;
  @%p1 bra loop;
  setp.gt.or.s32 %p2|%p1, %r1, 203, %p1;
  @!%p2 exit;
  bar.sync 0;
}
)";

TEST_CASE("what is left of a mutated kernel runs to some end") {
  const std::string text = std::string(kHeader) + std::string(kHarmless);
  REQUIRE(run_text(kHarmless, 2, 160) == Outcome::ok);
  Random random(7);
  std::array<unsigned, 8> outcomes{};
  for (int round = 0; round < 3000; ++round) {
    const auto parsed = parse(mutated(text, random));
    const auto* const module = std::get_if<Module>(&parsed);
    if (module == nullptr || module->kernels.empty()) continue;
    const Launch launch{.grid = {2, 1, 1}, .block = {160, 1, 1}, .instruction_budget = 200'000};
    ++outcomes[static_cast<std::size_t>(run(*module, module->kernels[0], launch))];
  }
  const auto count = [&](Outcome outcome) { return outcomes[static_cast<std::size_t>(outcome)]; };
  CHECK(count(Outcome::ok) > 50);
  CHECK(count(Outcome::bad_address) > 0);
  CHECK(count(Outcome::budget_exceeded) > 0);
  CHECK(count(Outcome::stopped) == 0);
  CHECK(count(Outcome::trap) == 0);
}

}  // namespace
}  // namespace lull::ptx::test

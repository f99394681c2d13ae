#pragma once

// The processor of the simulated GPU: hand-written PTX text in, kernels that really compute out.
//
// parse() turns the text of a module into kernels and module variables. run() executes one launch, whole, in the
// calling thread: block after block in the order x, y, z. So two launches with the same inputs give the same bits,
// floating point atomics included. A kernel whose blocks wait for each other makes no progress that way and ends by its
// budget or by `stop`, unless it is launched with `cooperative`: then all blocks of the grid are resident and take
// turns in the same order, each as long as it has work or until it has branched backwards some thousand times. How many
// blocks a card can hold is for the caller to check; run() refuses more than kResidentLimit.
//
// Memory: generic, global and constant addresses are host addresses of this process. A touch of unmapped memory raises
// SIGSEGV in the thread that called run(); the handler may siglongjmp out of run(), which holds no lock and owns
// nothing but scratch memory of the thread, used again by the next run(). Registers, shared and local memory read
// before they are written hold what earlier blocks of the launch left, zero at first.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace lull::ptx {

struct Program;  // the decoded instructions of a kernel

struct Parameter {
  std::string name;
  std::size_t size = 0;    // bytes
  std::size_t align = 1;   // bytes
  std::size_t offset = 0;  // bytes from the start of the flat parameter buffer
};

// A word of a variable's initial value that is the address of a variable.
struct AddressWord {
  std::size_t offset = 0;  // bytes into the initial value
  std::int32_t variable = 0;
  std::int64_t addend = 0;
};

// A .global or .const variable of the module. The driver gives it memory and passes the address with every launch.
struct Variable {
  std::string name;
  std::size_t size = 0;                // bytes
  std::size_t align = 1;               // bytes
  std::vector<std::byte> initial;      // at most `size` bytes; the rest starts as zero
  std::vector<AddressWord> addresses;  // 64-bit words of `initial` to which the driver adds addresses
  bool constant = false;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  std::size_t parameter_bytes = 0;
  std::size_t shared_bytes = 0;  // static, a block
  std::size_t local_bytes = 0;   // a thread
  unsigned max_threads = 1024;   // a block: .maxntid, .reqntid
  unsigned registers = 0;        // registers the text uses, for cuFuncGetAttribute
  std::shared_ptr<const Program> program;
};

struct Module {
  std::vector<Kernel> kernels;
  std::vector<Variable> variables;
  unsigned target = 0;  // the highest .target of its texts: 75 for sm_75

  // Null if the module has no kernel of this name.
  const Kernel* find(std::string_view kernel) const;
};

// Where the text is wrong, and what to do about it. Lines and columns count from 1.
struct Error {
  std::string message;
  int line = 0;
  int column = 0;
  bool newer = false;  // only its .version: the text is for a reader that knows more than this one
};

// What a device takes. Zero: anything.
struct Limits {
  unsigned target = 0;   // the highest .target, 86 for sm_86
  unsigned version = 0;  // the highest .version, 90 for 9.0
};

// May be called from any thread. Any text gives an answer: nothing throws but running out of memory.
std::variant<Module, Error> parse(std::string_view text, const Limits& limits = {});

// The first error of a text that is one of several: what it declares may be defined in another.
std::optional<Error> check(std::string_view text, const Limits& limits);

// Several texts that use each other's .visible and .weak functions and variables by .extern declarations. An error is
// in the text whose number `failing` receives.
std::variant<Module, Error> link(std::span<const std::string_view> texts, const Limits& limits, std::size_t& failing);

// What calls of recursive functions have, a thread: frames (and saved registers) of this many bytes, this many calls in
// progress. Other kernels get the stack that their deepest chain of calls needs.
inline constexpr std::uint32_t kRecursionStack = 16 * 1024;
inline constexpr std::uint32_t kRecursionDepth = 256;

enum class Outcome : std::uint8_t {
  ok,
  stopped,          // `stop` was set
  budget_exceeded,  // more than `instruction_budget` thread instructions
  trap,             // the kernel executed `trap`
  bad_address,      // outside shared or local memory: an illegal address on a GPU (CUDA error 700)
  misaligned,       // an address that is no multiple of the access (CUDA error 716)
  stack_overflow,   // more calls in progress than the stack holds (CUDA error 714)
  deadlock,         // every thread left waits at a barrier that nobody can complete; a GPU would hang
  invalid,          // the launch itself: a zero or too large dimension, too much shared memory, missing variables
};

std::string_view name_of(Outcome);

// Blocks of a cooperative launch: what the largest current GPU holds, 148 multiprocessors of 32 blocks.
inline constexpr std::uint64_t kResidentLimit = 148 * 32;

struct Launch {
  std::array<unsigned, 3> grid{1, 1, 1};           // blocks
  std::array<unsigned, 3> block{1, 1, 1};          // threads, at most Kernel::max_threads in all
  std::size_t dynamic_shared = 0;                  // bytes
  bool cooperative = false;                        // all blocks resident together: they may wait for each other
  const std::byte* parameters = nullptr;           // Kernel::parameter_bytes of them; null only if there are none
  std::span<std::byte* const> variable_addresses;  // one for each of Module::variables, in that order
  const std::atomic<bool>* stop = nullptr;         // seen within about a millisecond; null: never stops
  void (*breathe)(void*) = nullptr;                // called with `breather` as often as `stop` is looked at
  void* breather = nullptr;
  std::uint64_t instruction_budget = 0;  // thread instructions; 0 = no bound
  std::uint64_t* executed = nullptr;     // receives the thread instructions executed, if not null
};

// May be called from any thread, several launches at a time. `kernel` is one of `module`.
Outcome run(const Module& module, const Kernel& kernel, const Launch& launch);

}  // namespace lull::ptx

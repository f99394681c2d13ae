// Any text gets an answer from the PTX parser, and an error names a place within the text. What parses also runs,
// within a budget, if it stays in memory that the interpreter checks: a kernel's global addresses are addresses of this
// process.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tests/driver/ptx/operations.h"
#include "tests/driver/ptx/program.h"
#include "tests/driver/ptx/ptx.h"

namespace {

using namespace lull::ptx;

void add(std::set<std::uint16_t>& numbers, const std::string& name) {
  if (const Operation* const operation = operation_named(name)) numbers.insert(operation->number);
}

// Operations on addresses of the process, and the one that sleeps.
std::set<std::uint16_t> unbounded() {
  std::set<std::uint16_t> out;
  for (const char* base : {"ld", "st", "ld.volatile", "st.volatile"})
    for (const char* words : {"", " v2", " v4"})
      for (const char* type : {"b8", "b16", "b32", "b64"})
        add(out, std::string(base) + " generic" + words + " " + type);
  for (const char* name : {"add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"})
    for (const auto& type : kTypes) add(out, std::string("atom generic ") + name + " " + std::string(type.name));
  add(out, "nanosleep");
  return out;
}

bool is_bounded(const Program& program) {
  static const auto all = unbounded();
  return std::none_of(program.code.begin(), program.code.end(),
                      [](const Instruction& in) { return in.control == Control::none && all.contains(in.operation); });
}

void run_within_budget(const Module& module, const Kernel& kernel) {
  constexpr std::size_t kShared = 1024;
  std::vector<std::byte> parameters(kernel.parameter_bytes + 1);
  std::byte word{};
  const std::vector<std::byte*> addresses(module.variables.size(), &word);
  Launch launch{.grid = {2, 1, 1},
                .block = {std::min(160U, kernel.max_threads), 1, 1},
                .dynamic_shared = kShared,
                .parameters = parameters.data(),
                .variable_addresses = addresses,
                .instruction_budget = 100'000};
  (void)run(module, kernel, launch);
  launch.cooperative = true;
  (void)run(module, kernel, launch);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = parse(text);
  if (const auto* const error = std::get_if<Error>(&parsed)) {
    const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
    const bool is_inside = error->line >= 1 && error->line <= lines && error->column >= 1 &&
                           static_cast<std::size_t>(error->column) <= size + 1;
    if (!is_inside || error->message.empty()) std::abort();
    return 0;
  }
  const auto& module = std::get<Module>(parsed);
  for (const auto& kernel : module.kernels) {
    if (kernel.program == nullptr || kernel.max_threads == 0) std::abort();
    if (is_bounded(*kernel.program)) run_within_budget(module, kernel);
  }
  return 0;
}

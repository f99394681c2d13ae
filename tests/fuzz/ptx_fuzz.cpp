// Any text gets an answer from the PTX parser, and an error names a place within the text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "tests/driver/ptx/ptx.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = lull::ptx::parse(text);
  if (const auto* const error = std::get_if<lull::ptx::Error>(&parsed)) {
    const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
    const bool is_inside = error->line >= 1 && error->line <= lines && error->column >= 1 &&
                           static_cast<std::size_t>(error->column) <= size + 1;
    if (!is_inside || error->message.empty()) std::abort();
    return 0;
  }
  for (const auto& kernel : std::get<lull::ptx::Module>(parsed).kernels)
    if (kernel.program == nullptr || kernel.max_threads == 0) std::abort();
  return 0;
}

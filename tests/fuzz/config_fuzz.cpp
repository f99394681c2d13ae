// Any text in the configuration file: it parses, or a problem is named with the place; never a crash, never silence.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "broker/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto result = lull::parse_config({reinterpret_cast<const char*>(data), size}, "lull.toml");
  if (const auto* problem = std::get_if<lull::ConfigProblem>(&result))
    if (!problem->text.starts_with("lull.toml")) std::abort();
  return 0;
}

#include "broker/cli/commands.h"

#include <algorithm>

#include "broker/cli/arguments.h"

namespace lull::cli {
namespace {

std::string as_typed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace

std::span<const Command> commands() {
  static const Command all[] = {
#define COMMAND(name, help) {as_typed(#name), help, set_up_##name},
#include "broker/cli/commands.def"
#undef COMMAND
  };
  return all;
}

}  // namespace lull::cli

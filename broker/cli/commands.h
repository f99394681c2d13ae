// broker/cli/commands.h: the table of commands; commands.def is where it is written.
#pragma once
#include <span>
#include <string>

#include "broker/cli/cli.h"

namespace lull::cli {

struct Command {
  std::string name;
  const char* help;
  Action (*set_up)(Arguments&, const Context&);
};
std::span<const Command> commands();

#define COMMAND(name, help) Action set_up_##name(Arguments&, const Context&);
#include "broker/cli/commands.def"
#undef COMMAND

}  // namespace lull::cli

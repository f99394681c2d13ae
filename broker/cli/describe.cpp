#include "broker/cli/describe.h"

#include <CLI/CLI.hpp>

#include "broker/cli/commands.h"

namespace lull::cli {

std::vector<Described> describe_commands() {
  std::vector<Described> all;
  const Context nowhere;
  for (const auto& command : commands()) {
    CLI::App words;
    Arguments arguments(words);
    (void)command.set_up(arguments, nowhere);
    all.push_back({command.name, command.help, arguments.paragraphs(), arguments.parameters()});
  }
  return all;
}

}  // namespace lull::cli

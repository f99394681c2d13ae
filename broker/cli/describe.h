// broker/cli/describe.h: the commands as they describe themselves, for shells and man pages.
#pragma once
#include <string>
#include <vector>

#include "broker/cli/arguments.h"

namespace lull::cli {

struct Described {
  std::string name, help, paragraphs;
  std::vector<Parameter> parameters;
};
std::vector<Described> describe_commands();

}  // namespace lull::cli

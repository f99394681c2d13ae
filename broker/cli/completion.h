// broker/cli/completion.h: scripts that make a shell complete the words of lull. completion_bash.cpp and its like.
#pragma once
#include "broker/cli/describe.h"

namespace lull::cli {

std::string bash_completion(const std::vector<Described>&);
std::string zsh_completion(const std::vector<Described>&);
std::string fish_completion(const std::vector<Described>&);
std::string manual(const std::vector<Described>&);  // lull(1)

}  // namespace lull::cli

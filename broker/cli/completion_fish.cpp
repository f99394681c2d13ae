#include <fmt/format.h>

#include "broker/cli/completion.h"

namespace lull::cli {
namespace {

std::string quoted(const std::string& text) {
  std::string all;
  for (const char c : text) {
    if (c == '\'' || c == '\\') all += '\\';
    all += c;
  }
  return all;
}

std::string fish_values(const Parameter& p) {
  if (!p.choices.empty()) {
    std::string all;
    for (const auto& choice : p.choices) all += (all.empty() ? "" : " ") + choice;
    return fmt::format(" -xa '{}'", all);
  }
  switch (p.takes) {
    case Takes::file: return " -rF";
    case Takes::directory: return " -xa '(__fish_complete_directories)'";
    case Takes::tenant: return " -xa '(lull completion names 2>/dev/null)'";
    case Takes::command: return " -xa '(__fish_complete_subcommand)'";
    default: return " -x";
  }
}

std::string line(const Described& command, const Parameter& p) {
  const auto seen = fmt::format("complete -c lull -n '__fish_seen_subcommand_from {}'", command.name);
  if (p.operand) return p.takes == Takes::text ? "" : fmt::format("{} -f{}\n", seen, fish_values(p));
  return fmt::format("{} -l {}{} -d '{}'\n", seen, p.name.substr(2), p.takes == Takes::nothing ? " -f" : fish_values(p),
                     quoted(p.help));
}

}  // namespace

std::string fish_completion(const std::vector<Described>& commands) {
  std::string all =
      "# Completion of lull for fish, written by `lull completion fish`.\n"
      "complete -c lull -n __fish_use_subcommand -f\n"
      "complete -c lull -l runtime-dir -xa '(__fish_complete_directories)' -d 'the directory of the broker'\n";
  for (const auto& command : commands) {
    all +=
        fmt::format("complete -c lull -n __fish_use_subcommand -xa {} -d '{}'\n", command.name, quoted(command.help));
    for (const auto& p : command.parameters) all += line(command, p);
  }
  return all;
}

}  // namespace lull::cli

#include <fmt/format.h>

#include "broker/cli/completion.h"

namespace lull::cli {
namespace {

// Within single quotes, and within the brackets and colons of _arguments.
std::string zsh_quoted(const std::string& text) {
  std::string all;
  for (const char c : text) {
    if (c == '\'')
      all += "'\\''";
    else if (c == ':' || c == '[' || c == ']')
      (all += '\\') += c;
    else
      all += c;
  }
  return all;
}

std::string zsh_values(const Parameter& p) {
  if (!p.choices.empty()) {
    std::string all;
    for (const auto& choice : p.choices) all += (all.empty() ? "(" : " ") + choice;
    return all + ")";
  }
  switch (p.takes) {
    case Takes::file: return "_files";
    case Takes::directory: return "_files -/";
    case Takes::tenant: return "_lull_names";
    default: return " ";
  }
}

std::string argument(const Parameter& p) {
  if (p.takes == Takes::command) return "'(-)1:command: _command_names -e' '*::arguments: _normal'";
  if (p.operand)
    return fmt::format("'{}{}:{}'", p.required ? "1:" : "1::", zsh_quoted(p.name),
                       p.takes == Takes::text ? " " : zsh_values(p));
  if (p.takes == Takes::nothing) return fmt::format("'{}[{}]'", p.name, zsh_quoted(p.help));
  return fmt::format("'{}=[{}]:{}:{}'", p.name, zsh_quoted(p.help), placeholder(p.takes), zsh_values(p));
}

}  // namespace

std::string zsh_completion(const std::vector<Described>& commands) {
  std::string names, cases;
  for (const auto& command : commands) {
    names += fmt::format("    '{}:{}'\n", command.name, zsh_quoted(command.help));
    std::string all;
    for (const auto& p : command.parameters) all += " " + argument(p);
    cases += fmt::format("        {}) _arguments '--help[what it takes]'{} ;;\n", command.name, all);
  }
  return fmt::format(R"zsh(#compdef lull
# Completion of lull for zsh, written by `lull completion zsh`.
_lull_names() {{
  local -a names
  names=(${{(f)"$(lull completion names 2>/dev/null)"}})
  compadd -a names
}}

_lull() {{
  local curcontext=$curcontext state
  local -a all
  all=(
{}  )
  _arguments -C '--runtime-dir=[the directory of the broker]:DIR:_files -/' '--version[the version]' \
    '--help[the commands]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command all ;;
    argument)
      case $words[1] in
{}      esac ;;
  esac
}}
if [[ $funcstack[1] == _lull ]]; then _lull "$@"; else compdef _lull lull; fi
)zsh",
                     names, cases);
}

}  // namespace lull::cli

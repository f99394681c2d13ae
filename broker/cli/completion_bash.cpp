#include <fmt/format.h>

#include "broker/cli/completion.h"

namespace lull::cli {
namespace {

constexpr const char* head = R"(# Completion of lull for bash, written by `lull completion bash`.
_lull() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${COMP_WORDS[i]} in
      --runtime-dir) ((++i)) ;;
      -*) ;;
      *) command=${COMP_WORDS[i]}; break ;;
    esac
  done
)";

// What follows "--" is a program's own line; bash-completion, where it is there, knows how to complete that.
constexpr const char* program = R"(  for ((; i < COMP_CWORD; ++i)); do
    [[ $command == run && ${COMP_WORDS[i]} == -- ]] || continue
    if declare -F _command_offset >/dev/null; then _command_offset $((i + 1)); return; fi
    if ((i + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$word")); else COMPREPLY=($(compgen -f -- "$word")); fi
    return
  done
)";

constexpr const char* tail = R"(  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$word"; fi
}
complete -F _lull lull
)";

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const auto& word : words) all += (all.empty() ? "" : " ") + word;
  return all;
}

std::string values(const Parameter& p) {
  if (!p.choices.empty()) return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$word\"))", joined(p.choices));
  if (p.takes == Takes::file) return "COMPREPLY=($(compgen -f -- \"$word\"))";
  if (p.takes == Takes::directory) return "COMPREPLY=($(compgen -d -- \"$word\"))";
  return ":";
}

std::string words_of(const Described& command) {
  std::string all;
  for (const auto& p : command.parameters) {
    if (!p.operand) all += p.name + " ";
    if (p.operand && p.takes == Takes::tenant) all += "$(\"${COMP_WORDS[0]}\" completion names 2>/dev/null) ";
    if (p.operand && !p.choices.empty()) all += joined(p.choices) + " ";
  }
  return all + "--help";
}

}  // namespace

std::string bash_completion(const std::vector<Described>& commands) {
  std::string names, options, lines;
  for (const auto& command : commands) {
    names += command.name + " ";
    lines += fmt::format("    {}) words=\"{}\" ;;\n", command.name, words_of(command));
    for (const auto& p : command.parameters)
      if (!p.operand && p.takes != Takes::nothing)
        options += fmt::format("    {}:{}) {}; return ;;\n", command.name, p.name, values(p));
  }
  return fmt::format(
      "{}  case $command:$before in\n    *:--runtime-dir) COMPREPLY=($(compgen -d -- \"$word\")); return ;;\n{}  esac\n"
      "{}  case $command in\n    '') words=\"{}--runtime-dir --version --help\" ;;\n{}  esac\n{}",
      head, options, program, names, lines, tail);
}

}  // namespace lull::cli

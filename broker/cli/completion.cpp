// broker/cli/completion.cpp: lull completion: a script for a shell, written from the commands' own arguments.
#include "broker/cli/completion.h"

#include <fmt/format.h>

#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/describe.h"
#include "broker/cli/show.h"

namespace lull::cli {
namespace {

// What WHOM may be, a line each: asked by the scripts below, so it says nothing when there is no broker.
int print_names(const std::string& runtime_dir) {
  std::string why_not, line;
  auto broker = Connection::try_open(runtime_dir, why_not);
  if (!broker || !broker.send("{\"cmd\":\"status\"}") || !broker.receive(line)) return no_broker;
  const auto status = json::parse(line, nullptr, false);
  for (const auto& gpu : part(status, "gpus"))
    for (const auto& client : part(gpu, "clients")) fmt::print("{}\n", text(client, "tenant"));
  return ok;
}

int completion(const Context& context, const std::string& what) {
  if (what == "names") return print_names(context.runtime_dir);
  const auto all = describe_commands();
  const auto write = what == "bash"   ? bash_completion
                     : what == "zsh"  ? zsh_completion
                     : what == "fish" ? fish_completion
                                      : manual;
  fmt::print("{}", write(all));
  return ok;
}

}  // namespace

Action set_up_completion(Arguments& arguments, const Context& context) {
  auto what = std::make_shared<std::string>();
  arguments.choice("shell", {"bash", "zsh", "fish", "man", "names"}, *what,
                   "bash, zsh or fish; man: the manual page lull(1); names: what WHOM may be, a line each");
  arguments.about(
      "bash: lull completion bash > ~/.local/share/bash-completion/completions/lull\n"
      "zsh: lull completion zsh > _lull, in a directory of $fpath\n"
      "fish: lull completion fish > ~/.config/fish/completions/lull.fish");
  return [what, &context] { return completion(context, *what); };
}

}  // namespace lull::cli

// broker/cli/main.cpp: lull: what people type.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "broker/cli/arguments.h"
#include "broker/cli/commands.h"

namespace lull::cli {
namespace {

std::string exit_codes() {
  std::string all = "Exit codes:\n";
  for (const auto& [code, meaning] : exit_meanings) all += fmt::format("  {:<6}{}\n", static_cast<int>(code), meaning);
  all.pop_back();
  return all;
}

// A program started by `lull run` may change its directory before it looks there.
std::string as_absolute(const std::string& path) {
  std::error_code unresolved;
  const auto absolute = std::filesystem::absolute(path, unresolved);
  auto whole = unresolved ? path : absolute.lexically_normal().string();
  while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  return whole;
}

int run_one(int argc, char** argv) {
  Context context{default_runtime_dir()};
  CLI::App app("lull: runs programs under Lull and shows what it does", "lull");
  app.require_subcommand(1);
  app.set_version_flag("--version", "lull " LULL_VERSION);
  app.add_option("--runtime-dir", context.runtime_dir, "the broker's directory (also LULL_RUNTIME_DIR)")
      ->type_name("DIR")
      ->capture_default_str();
  app.footer(exit_codes());

  std::vector<std::pair<CLI::App*, Action>> all;
  for (const auto& command : commands()) {
    auto* words = app.add_subcommand(command.name, command.help);
    Arguments arguments(*words);
    all.emplace_back(words, command.set_up(arguments, context));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? ok : usage;  // help and version are no errors
  }
  context.runtime_dir = as_absolute(context.runtime_dir);
  for (const auto& [words, act] : all)
    if (*words) return act();
  return usage;  // not reached: require_subcommand
}

}  // namespace
}  // namespace lull::cli

int main(int argc, char** argv) { return lull::cli::run_one(argc, argv); }

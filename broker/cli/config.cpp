// broker/cli/config.cpp: lull config: what is in effect and where it comes from, of the running broker or of a file;
// and whether a file is right. A file is read by the code that lulld reads it with.
#include "broker/config.h"

#include <fmt/format.h>

#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"
#include "broker/config_show.h"

namespace lull::cli {
namespace {

struct ConfigOptions {
  std::string action = "show", checked, file;
  bool json = false;
};

std::string quoted(const json& value) {
  if (value.is_string()) return value.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string all;
  for (const auto& one : value) all += (all.empty() ? "" : ", ") + quoted(one);
  return "[" + all + "]";
}

int tell(const json& config, bool as_json) {
  if (as_json) {
    fmt::print("{}\n", one_line(config));
    return ok;
  }
  const auto file = text(config, "file");
  fmt::print("# {}\n", file == "-" ? "no file: the defaults" : file);
  for (const auto& row : part(config, "values")) {
    const auto value = row.find("value");
    const bool set = value != row.end() && !value->is_null();
    const auto said = set ? fmt::format("{} = {}", text(row, "name"), quoted(*value))
                          : fmt::format("# {}: {}", text(row, "name"), text(row, "otherwise"));
    fmt::print("{:<44}  # {}\n", said, text(row, "from"));
  }
  return ok;
}

int tell_file(const ConfigOptions& options) {
  const auto read = load_config(options.file);
  if (const auto* problem = std::get_if<ConfigProblem>(&read)) return complain(failure, problem->text);
  return tell(json::parse(config_json(std::get<Config>(read))), options.json);
}

int check(const ConfigOptions& options) {
  const auto& file = options.checked.empty() ? options.file : options.checked;
  if (file.empty()) return complain(usage, "which file? lull config check FILE");
  const auto read = load_config(file);
  if (const auto* problem = std::get_if<ConfigProblem>(&read)) return complain(failure, problem->text);
  fmt::print("{} is right\n", file);
  return ok;
}

int config(const Context& context, const ConfigOptions& options) {
  if (options.action == "check") return check(options);
  if (options.action != "show") return complain(usage, fmt::format("\"{}\" is neither show nor check", options.action));
  if (!options.checked.empty()) return complain(usage, "lull config show takes a file as --file FILE");
  if (!options.file.empty()) return tell_file(options);
  int code = ok;
  const auto answer = answer_to(context.runtime_dir, {{"cmd", "config"}}, code);
  return answer.is_null() ? code : tell(answer, options.json);
}

}  // namespace

Action set_up_config(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<ConfigOptions>();
  arguments.about(
      "show: every key with its value, and whether it stands in the file or is the default; of the running lulld, or "
      "of "
      "--file, as if lulld had read it. check FILE: says what is wrong with it, with the line, and exits 1. All keys "
      "and "
      "their meaning: man lull.toml.");
  arguments.optional_operand("show|check", Takes::text, options->action, "what to do");
  arguments.optional_operand("file", Takes::file, options->checked, "the file to check");
  arguments.option("--file", Takes::file, options->file, "show this file, and ask no lulld");
  arguments.flag("--json", options->json, "as one JSON object");
  return [options, &context] { return config(context, *options); };
}

}  // namespace lull::cli

// broker/cli/run.cpp: lull run: puts the library into a program and becomes it.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "broker/cli/arguments.h"
#include "broker/cli/commands.h"
#include "broker/cli/library.h"
#include "protocol/messages.h"
#include "protocol/socket.h"
#include "protocol/words.h"

namespace lull::cli {
namespace {

namespace fs = std::filesystem;

struct RunOptions {
  std::string klass, tenant;
  std::vector<std::string> command;
};

struct Place {
  std::string klass, socket;
};

// In a container one class is mounted where the host has the directory of all; the mount decides.
Place find_place(const std::string& runtime_dir, const RunOptions& options) {
  std::ifstream file(runtime_dir + "/class");
  std::string mounted;
  if (file >> mounted && parse_class(mounted.c_str())) return {mounted, runtime_dir + "/broker"};
  return {options.klass, runtime_dir + "/" + options.klass + "/socket/broker"};
}

int no_way(const Place& place, int code) {
  const auto what = fmt::format("cannot reach lulld at {}: {}", place.socket, std::strerror(code));
  if (code == EACCES || code == EPERM)
    return complain(
        no_broker,
        fmt::format("{}; class {} is for root and the group lull: sudo usermod -aG lull $USER, then log in again", what,
                    place.klass));
  return complain(no_broker,
                  what + "; start it (sudo systemctl start lulld), or name its directory with --runtime-dir");
}

int check(const RunOptions& options, const Place& place) {
  if (place.klass.empty()) return complain(usage, "which class? --class training, interactive or inference");
  if (!parse_class(place.klass.c_str()))
    return complain(usage, fmt::format("no class \"{}\": there are training, interactive and inference", place.klass));
  const bool printable =
      std::all_of(options.tenant.begin(), options.tenant.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (options.tenant.size() >= sizeof Hello::tenant || !printable)
    return complain(usage,
                    fmt::format("--tenant must be at most {} printable ASCII characters", sizeof Hello::tenant - 1));
  return ok;
}

// Returns only when it fails.
int run(const Context& context, const RunOptions& options) {
  const auto place = find_place(context.runtime_dir, options);
  if (const int code = check(options, place); code != ok) return code;
  if (!options.klass.empty() && options.klass != place.klass)
    fmt::print(stderr, "lull: class {} is mounted at {}; --class {} is not reachable here\n", place.klass,
               context.runtime_dir, options.klass);
  std::string tried;
  const auto library = find_library(tried);
  if (!library) return complain(failure, fmt::format("liblull.so is not at {}; name it with LULL_LIBRARY", tried));
  if (const auto wrong = wrong_with_path(*library); !wrong.empty()) return complain(failure, wrong);
  if (const auto reached = connect_to(place.socket.c_str()); !reached) return no_way(place, reached.error().code);
  preload(*library);
  (void)::setenv("LULL_CLASS", place.klass.c_str(), 1);
  (void)::setenv("LULL_RUNTIME_DIR", context.runtime_dir.c_str(), 1);
  if (!options.tenant.empty()) (void)::setenv("LULL_TENANT", options.tenant.c_str(), 1);
  std::vector<char*> arguments;
  for (const auto& argument : options.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  (void)::execvp(arguments[0], arguments.data());
  const int why = errno;
  return complain(why == ENOENT ? not_found : cannot_execute,
                  fmt::format("cannot run {}: {}", options.command.front(), std::strerror(why)));
}

}  // namespace

Action set_up_run(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<RunOptions>();
  arguments.option("--class", Takes::klass, options->klass, "training, interactive or inference");
  arguments.option("--tenant", Takes::text, options->tenant,
                   "name shown to people; processes with the same name belong together");
  arguments.command("command", options->command, "the program and its arguments, after --", true);
  arguments.about(
      "lull run becomes the program: same process, same terminal, so its exit code, its signals and its output are the "
      "program's own. An LD_PRELOAD that is there already stays, behind Lull's library.");
  return [options, &context] { return run(context, *options); };
}

}  // namespace lull::cli

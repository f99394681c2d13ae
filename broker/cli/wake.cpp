// broker/cli/wake.cpp: lull wake: a request is about to come.
#include <fmt/format.h>

#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"
#include "broker/units.h"

namespace lull::cli {
namespace {

struct WakeOptions {
  std::string whom, lasts = "30s";
  bool json = false;
};

int wake(const Context& context, const WakeOptions& options) {
  const auto lasts = parse_time(options.lasts);
  if (!lasts) return complain(usage, fmt::format("--for {} is no duration; write it like 30s or 5min", options.lasts));
  int code = ok;
  const auto answer =
      answer_to(context.runtime_dir, {{"cmd", "wake"}, {"whom", options.whom}, {"for_ns", *lasts}}, code);
  if (answer.is_null()) return code;
  if (number(answer, "woken") == 0)
    return complain(not_there,
                    fmt::format("no service is called \"{}\" (lull status shows their names)", options.whom));
  if (options.json)
    fmt::print("{}\n", one_line(answer));
  else
    fmt::print("{} is expected to be asked within {}\n", options.whom, show_time(number(answer, "for_ns")));
  return ok;
}

}  // namespace

Action set_up_wake(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<WakeOptions>();
  arguments.operand("service", Takes::tenant, options->whom, "a tenant's name, or a process");
  arguments.option("--for", Takes::time, options->lasts, "how long to expect it");
  arguments.flag("--json", options->json, "as one JSON object");
  return [options, &context] { return wake(context, *options); };
}

}  // namespace lull::cli

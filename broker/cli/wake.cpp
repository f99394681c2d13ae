// broker/cli/wake.cpp: lull wake: a request is about to come.
#include <fmt/format.h>

#include "broker/cli/show.h"
#include "broker/units.h"

namespace lull::cli {

int wake(const Wake& options) {
  const auto lasts = parse_time(options.lasts);
  if (!lasts) return complain(usage, fmt::format("--for {} is no duration; write it like 30s or 5min", options.lasts));
  const json request = {{"cmd", "wake"}, {"whom", options.whom}, {"for_ns", *lasts}};
  int code = ok;
  std::string line;
  if (!ask_with(options.runtime_dir, request.dump(-1, ' ', false, json::error_handler_t::replace), line, code))
    return code;
  const auto answer = object_in(line, code);
  if (answer.is_null()) return code;
  const auto woken = number(answer, "woken");
  if (woken == 0)
    return complain(failure, fmt::format("no service is called \"{}\" (lull status shows their names)", options.whom));
  fmt::print("{} is expected to be asked within {}\n", options.whom, show_time(number(answer, "for_ns")));
  return ok;
}

}  // namespace lull::cli

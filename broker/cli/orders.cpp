// broker/cli/orders.cpp: lull pause, resume, release and hold: what an owner says of a tenant by hand.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"
#include "broker/units.h"

namespace lull::cli {
namespace {

struct OrderOptions {
  std::string whom, lasts;
  bool end = false, json = false;
};

constexpr policy::Time longest_order_wait = 60 * policy::second;

bool off_the_card(const json& c, bool memory_too) {
  const auto phase = text(c, "phase");
  if (text(c, "gate") != "closed") return false;
  return memory_too ? number(c, "resident") == 0 : phase == "drained" || phase == "moving" || phase == "ready";
}

// One that has ended meanwhile is off the card, too.
bool all_off(const json& status, const json& pids, bool memory_too) {
  for (const auto& gpu : part(status, "gpus"))
    for (const auto& c : part(gpu, "clients"))
      if (std::find(pids.begin(), pids.end(), number(c, "pid")) != pids.end() && !off_the_card(c, memory_too))
        return false;
  return true;
}

// Nothing: no process has that name, or the broker's complaint has been said.
json tell(const Context& context, const char* cmd, const OrderOptions& options, int& code) {
  json request = {{"cmd", cmd}, {"whom", options.whom}};
  if (!options.lasts.empty()) {
    const auto lasts = parse_time(options.lasts);
    if (!lasts) {
      code = complain(usage, fmt::format("--for {} is no duration; write it like 30s or 2h", options.lasts));
      return nullptr;
    }
    request["for_ns"] = *lasts;
  }
  auto answer = answer_to(context.runtime_dir, request, code);
  if (answer.is_null() || !part(answer, "pids").empty()) return answer;
  code = complain(not_there, fmt::format("no tenant and no process is called \"{}\" (lull status shows their names)",
                                         options.whom));
  return nullptr;
}

int told(const OrderOptions& options, const json& answer, const std::string& sentence) {
  fmt::print("{}\n", options.json ? one_line(answer) : sentence);
  return ok;
}

std::string for_how_long(const json& answer, const std::string& undo) {
  const auto lasts = number(answer, "for_ns");
  return lasts == 0 ? fmt::format("until `{}`", undo) : fmt::format("until {}", clock_after(lasts));
}

// The word holds whether or not somebody waits here for it to be carried out.
int pause(const Context& context, const OrderOptions& options, bool memory_too) {
  int code = ok;
  const auto answer = tell(context, memory_too ? "release" : "pause", options, code);
  if (answer.is_null()) return code;
  const auto& pids = part(answer, "pids");
  const auto lasts = number(answer, "for_ns");
  const bool off = await_status(
      context.runtime_dir, lasts ? std::min<policy::Time>(lasts, longest_order_wait) : longest_order_wait,
      [&](const json& status) { return all_off(status, pids, memory_too); }, code);
  if (code != ok) return code;
  if (!off)
    return complain(failure,
                    fmt::format("not yet: {} is still on the card, and lulld goes on trying; `lull why {}` says "
                                "what it waits for",
                                options.whom, options.whom));
  return told(options, answer,
              fmt::format("{} is paused{} {}", options.whom, memory_too ? ", and its memory has left the card," : "",
                          for_how_long(answer, "lull resume " + options.whom)));
}

int resume(const Context& context, const OrderOptions& options) {
  int code = ok;
  const auto answer = tell(context, "resume", options, code);
  return answer.is_null() ? code : told(options, answer, fmt::format("{} may run", options.whom));
}

int hold(const Context& context, const OrderOptions& options) {
  int code = ok;
  if (options.end) {
    const auto answer = tell(context, "unhold", {options.whom, "", true, options.json}, code);
    return answer.is_null() ? code
                            : told(options, answer, fmt::format("the card is not kept for {} any more", options.whom));
  }
  const auto answer = tell(context, "hold", options, code);
  if (answer.is_null()) return code;
  return told(
      options, answer,
      fmt::format("the card is kept for {} {}", options.whom, for_how_long(answer, "lull hold --end " + options.whom)));
}

std::shared_ptr<OrderOptions> take(Arguments& arguments, const char* for_what, const char* initial) {
  auto options = std::make_shared<OrderOptions>();
  options->lasts = initial;
  arguments.operand("whom", Takes::tenant, options->whom, "a tenant's name, or a process");
  if (for_what) arguments.option("--for", Takes::time, options->lasts, for_what);
  arguments.flag("--json", options->json, "as one JSON object");
  return options;
}

constexpr const char* who_may =
    "Root may say so, and the user whose process it is. A word for a tenant holds for its later processes, too, while "
    "one is there; a gang is spoken to as a whole. A restart of lulld forgets it.";

}  // namespace

Action set_up_pause(Arguments& arguments, const Context& context) {
  arguments.about(
      std::string("Its memory stays on the card until somebody wants the room. Waits until its work on the "
                  "card has ended, at most a minute. A signal sent to it still gets its turn on the card. ") +
      who_may);
  auto options = take(arguments, "for how long; without it until lull resume", "");
  return [options, &context] { return pause(context, *options, false); };
}

Action set_up_release(Arguments& arguments, const Context& context) {
  arguments.about(std::string("Its memory goes to the host now, whether or not somebody wants the room; contexts and "
                              "modules stay. Waits until it has left, at most a minute. ") +
                  who_may);
  auto options = take(arguments, "for how long; without it until lull resume", "");
  return [options, &context] { return pause(context, *options, true); };
}

Action set_up_resume(Arguments& arguments, const Context& context) {
  auto options = take(arguments, nullptr, "");
  return [options, &context] { return resume(context, *options); };
}

Action set_up_hold(Arguments& arguments, const Context& context) {
  arguments.about(
      std::string("As if it were asked all the time: training waits, and what is its own stays on the card. "
                  "Requests for other services, and services that start, still come first. ") +
      who_may);
  auto options = take(arguments, "for how long; at most limits.hold of lulld's configuration", "10min");
  arguments.flag("--end", options->end, "the card is needed no longer");
  return [options, &context] { return hold(context, *options); };
}

}  // namespace lull::cli

// broker/cli/free.cpp: lull free: room on a card for programs that do not know Lull, for a time.
#include <fmt/format.h>

#include <charconv>
#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"
#include "broker/units.h"

namespace lull::cli {
namespace {

struct FreeOptions {
  std::string size, duration = "1h", gpu;
  bool json = false;
};

constexpr policy::Time longest_wait = 60 * policy::second;

// Nothing: the broker decides, or complains.
json gpu_in(const std::string& name) {
  if (name.empty()) return nullptr;
  unsigned number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc{} && end == name.data() + name.size() ? json(number) : json(name);
}

const json& card_of(const json& status, const std::string& uuid) {
  for (const auto& gpu : part(status, "gpus"))
    if (text(gpu, "uuid") == uuid) return gpu;
  return part(status, "no such card");
}

int told(const FreeOptions& options, const json& answer, const std::string& sentence) {
  fmt::print("{}\n", options.json ? one_line(answer) : sentence);
  return ok;
}

// Until what moves has moved. The wish holds whether or not somebody waits here.
int await_room(const Context& context, const FreeOptions& options, const json& answer) {
  int code = ok;
  const auto uuid = text(answer, "gpu");
  const auto wanted = number(answer, "bytes"), duration = number(answer, "for_ns");
  const auto end = clock_after(duration);
  std::uint64_t there = 0;
  const auto enough = [&](const json& status) {
    const auto& gpu = card_of(status, uuid);
    there = number(gpu, "free");
    return there >= number(gpu, "kept_free");
  };
  if (await_status(context.runtime_dir, std::min<policy::Time>(longest_wait, duration), enough, code))
    return told(options, answer, fmt::format("{} are free on {} until {}", bytes(wanted), uuid, end));
  if (code != ok) return code;
  return complain(failure, fmt::format("not yet: {} of {} are free; lulld goes on making room until {} (`lull status`)",
                                       bytes(there), bytes(wanted), end));
}

int free(const Context& context, const FreeOptions& options) {
  const auto size = parse_bytes(options.size);
  const auto duration = parse_time(options.duration);
  if (!size) return complain(usage, fmt::format("\"{}\" is no size; write it like 10GiB", options.size));
  if (!duration) return complain(usage, fmt::format("--for {} is no duration; write it like 2h", options.duration));
  int code = ok;
  const auto answer =
      answer_to(context.runtime_dir,
                {{"cmd", "free"}, {"bytes", *size}, {"for_ns", *duration}, {"gpu", gpu_in(options.gpu)}}, code);
  if (answer.is_null()) return code;
  if (*size != 0) return await_room(context, options, answer);
  return told(options, answer, fmt::format("nothing is kept free on {} any more", text(answer, "gpu")));
}

}  // namespace

Action set_up_free(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<FreeOptions>();
  arguments.about(
      "Until its time is over, programs without Lull can take so much more than they hold now, whether they do or not. "
      "Waits until the room is there, at most a minute; lulld goes on making it. A restart of lulld forgets it.");
  arguments.operand("size", Takes::size, options->size, "how much; 0: the room is needed no longer");
  arguments.option("--for", Takes::time, options->duration, "how long it is kept free");
  arguments.option("--gpu", Takes::text, options->gpu, "number or UUID of the card, where there are several");
  arguments.flag("--json", options->json, "as one JSON object");
  return [options, &context] { return free(context, *options); };
}

}  // namespace lull::cli

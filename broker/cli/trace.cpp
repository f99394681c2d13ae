// broker/cli/trace.cpp: lull trace: what has happened on the cards, for a trace viewer or as a picture.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iostream>
#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/picture.h"
#include "broker/cli/show.h"
#include "broker/cli/trace_json.h"
#include "broker/units.h"

namespace lull::cli {
namespace {

struct TraceOptions {
  std::string out, picture, of_switch, last, gpu = "0";
};

std::optional<std::uint64_t> number_in(const std::string& words) {
  std::uint64_t n = 0;
  const auto* end = words.data() + words.size();
  const auto [at, error] = std::from_chars(words.data(), end, n);
  return error == std::errc{} && at == end && !words.empty() ? std::optional(n) : std::nullopt;
}

std::optional<std::vector<json>> all_events(const std::string& runtime_dir, int& code) {
  auto broker = Connection::open(runtime_dir, code);
  if (!broker) return std::nullopt;
  if (!broker.send("{\"cmd\":\"events\"}")) {
    code = complain(failure, "lulld has hung up");
    return std::nullopt;
  }
  std::vector<json> events;
  for (std::string line; broker.receive(line);)
    if (auto event = json::parse(line, nullptr, false); event.is_object()) events.push_back(std::move(event));
  return events;
}

int write(const std::string& path, const std::string& text) {
  if (path.empty() || path == "-") {
    std::cout << text << std::flush;
    return std::cout ? ok : failure;
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  return file ? ok
              : complain(failure, fmt::format("cannot write {}; is its directory there, and yours to write in?", path));
}

const SwitchStory* named_switch(const CardStory& card, const std::string& name) {
  const auto wanted = number_in(name);
  for (auto s = card.switches.rbegin(); s != card.switches.rend(); ++s)
    if (s->first_kernel != 0 && (wanted ? s->id == *wanted : s->preemption)) return &*s;
  return nullptr;
}

int draw(const TraceOptions& options, const Story& story) {
  const auto gpu = number_in(options.gpu);
  const auto card =
      std::find_if(story.cards.begin(), story.cards.end(), [&](const auto& c) { return c.number == gpu; });
  if (card == story.cards.end())
    return complain(not_there, fmt::format("there is no gpu {} (lull status shows them)", options.gpu));
  if (card->actors.empty())
    return complain(not_there,
                    fmt::format("nothing has happened on gpu {} yet; start a program with lull run", options.gpu));
  if (!options.of_switch.empty()) {
    const auto* s = named_switch(*card, options.of_switch);
    if (!s)
      return complain(not_there, fmt::format("no switch {} with a first kernel among the last ones (lull events --json "
                                             "shows their ids)",
                                             options.of_switch));
    return write(options.picture, picture_of(*card, window_of(*card, *s, story.end)));
  }
  Window window{story.begin, story.end};
  if (!options.last.empty()) {
    const auto last = parse_time(options.last);
    if (!last || *last == 0)
      return complain(usage, fmt::format("--last {} is no duration; write it like 30s or 5min", options.last));
    window.from = std::max(window.from, story.end - std::min(story.end, Nanoseconds{*last}));
  }
  return write(options.picture, picture_of(*card, window));
}

int trace(const Context& context, const TraceOptions& options) {
  int code = ok;
  const auto chart = answer_to(context.runtime_dir, {{"cmd", "chart"}}, code);
  if (chart.is_null()) return code;
  const auto events = all_events(context.runtime_dir, code);
  if (!events) return code;
  const auto story = story_of(chart, *events);
  if (!options.picture.empty())
    if ((code = draw(options, story)) != ok) return code;
  if (options.picture.empty() || !options.out.empty()) return write(options.out, one_line(trace_of(story)) + "\n");
  return ok;
}

}  // namespace

Action set_up_trace(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<TraceOptions>();
  arguments.about(
      "JSON for ui.perfetto.dev or chrome://tracing: a track for each card's switches and for each program, arrows "
      "from "
      "a request's first packet to its first kernel, memory as counters. lulld remembers the last thousand events.");
  arguments.option("--out", Takes::file, options->out, "where to write the trace (without it: standard output)");
  arguments.option("--picture", Takes::file, options->picture,
                   "draw an SVG instead: who had the card, and whose memory was on it");
  arguments.option("--switch", Takes::text, options->of_switch,
                   "picture: this switch, by its number, or `last` for the last preemption");
  arguments.option("--last", Takes::time, options->last,
                   "picture: so much of the past (without it: all that is known)");
  arguments.option("--gpu", Takes::text, options->gpu, "picture: the card, by its number");
  return [options, &context] { return trace(context, *options); };
}

}  // namespace lull::cli

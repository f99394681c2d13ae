// broker/cli/events.cpp: lull events: what has happened, a line each.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "broker/cli/arguments.h"
#include "broker/cli/commands.h"

namespace lull::cli {
namespace {

using nlohmann::json;

std::string who(const json& w) {
  return w.is_object() ? fmt::format("{}(pid {}, {})", w.value("tenant", "-"), w.value("pid", 0), w.value("class", "-"))
                       : "-";
}

std::string phases(const json& event) {
  std::string out;
  const auto& all = event.value("phases", json::object());
  const auto seen = all.find("seen");
  if (seen == all.end() || !seen->is_number_unsigned()) return out;
  for (const char* name : {"closed", "drained", "evicted", "restored", "opened", "first_kernel"}) {
    const auto at = all.find(name);
    if (at == all.end() || !at->is_number_unsigned()) continue;
    const auto ns = at->get<std::int64_t>() - seen->get<std::int64_t>();
    out += fmt::format(" {}+{:.1f}ms", name, static_cast<double>(ns) / 1e6);
  }
  return out;
}

std::string in_words(const json& event) {
  const auto kind = event.value("event", "?");
  if (kind != "switch")
    return fmt::format("{:<10} {} {}", kind, who(event.value("client", json())), event.value("why", ""));
  std::string from;
  for (const auto& victim : event.value("from", json::array())) from += (from.empty() ? "" : ", ") + who(victim);
  return fmt::format("{:<10} {} from {} to {}:{}", kind, event.value("reason", "-"), from.empty() ? "nobody" : from,
                     who(event.value("to", json())), phases(event));
}

// Lines of an unknown shape are passed on as they are.
std::string shown(const std::string& line) {
  try {
    const auto event = json::parse(line);
    return fmt::format("{:>14.3f}  {}", static_cast<double>(event.value("t_ns", std::uint64_t{0})) / 1e9,
                       in_words(event));
  } catch (const json::exception&) {
    return line;
  }
}

struct EventsOptions {
  bool json = false, follow = false;
};

int events(const Context& context, const EventsOptions& options) {
  int code = ok;
  auto broker = Connection::open(context.runtime_dir, code);
  if (!broker) return code;
  if (!broker.send(options.follow ? "{\"cmd\":\"events\",\"follow\":true}" : "{\"cmd\":\"events\"}"))
    return complain(failure, "lulld has hung up");
  for (std::string line; broker.receive(line);) {
    if (std::puts(options.json ? line.c_str() : shown(line).c_str()) < 0 || std::fflush(stdout) != 0)
      return failure;  // nobody reads any more
  }
  return options.follow ? complain(no_broker, "lulld has ended") : ok;
}

}  // namespace

Action set_up_events(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<EventsOptions>();
  arguments.flag("--json", options->json, "as JSON, one object a line");
  arguments.flag("--follow", options->follow, "go on with what happens from now on");
  return [options, &context] { return events(context, *options); };
}

}  // namespace lull::cli

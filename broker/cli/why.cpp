// broker/cli/why.cpp: lull why: why a tenant runs or waits, and what a switch took its time for.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <utility>
#include <vector>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"

namespace lull::cli {
namespace {

std::string who(const json& w) {
  return fmt::format("{} (pid {}, {})", text(w, "tenant"), number(w, "pid"), text(w, "class"));
}

void say_memory(const json& c) {
  const auto needed = number(c, "needed"), resident = number(c, "resident");
  if (needed == 0) return fmt::print("  it has allocated nothing through Lull\n");
  if (resident >= needed) return fmt::print("  memory    all {} are on the card\n", bytes(needed));
  fmt::print("  memory    {} of {} on the card; it may hold {} now\n", bytes(resident), bytes(needed),
             bytes(number(c, "quota")));
}

// What stands between it and the card, from the outside in.
void say_wait(const json& c, const json& lease) {
  if (c.value("wants", false))
    fmt::print("  waits     a submission has met its closed gate {} ago\n", time(number(c, "wants_ns")));
  if (const auto waiting = number(c, "waiting")) fmt::print("  requests  {} in flight\n", waiting);
  if (c.value("interrupted", false)) fmt::print("  signal    one has come in behind its gate\n");
  if (text(c, "overdue") != "none") fmt::print("  overdue   {}\n", text(c, "overdue"));  // also while it is tried again
  if (lease.empty())
    fmt::print("  the card  is nobody's\n");
  else if (number(lease, "pid") == number(c, "pid"))
    fmt::print("  the card  is its own since {}: {}\n", time(number(lease, "since_ns")), text(lease, "sentence"));
  else
    fmt::print("  the card  is {}'s since {}: {}\n", who(lease), time(number(lease, "since_ns")),
               text(lease, "sentence"));
}

void say_order(const json& c) {
  const auto order = text(c, "order"), who = text(c, "tenant");
  if (order == "-") return;
  const auto left = number(c, "order_left_ns");
  fmt::print("  owner     has said {}{}\n", order, left ? fmt::format(", for another {}", time(left)) : "");
  fmt::print("  undo      lull {} {}\n", order == "hold" ? "hold --end" : "resume", who);
}

void say_trouble(const json& c) {
  if (const auto& by = part(c, "blocked_by"); !by.empty())
    fmt::print("  blocked   by {} (pid {}), which is not under Lull and holds {}\n", text(by, "command"),
               number(by, "pid"), bytes(number(by, "used")));
  if (const auto stuck = text(c, "stuck"); stuck != "-")
    fmt::print("  stuck     {}: it has been said, and given to on_stuck\n", stuck);
}

void say_client(const json& found) {
  const auto& c = part(found, "client");
  fmt::print("{} is {} since {}: {}\n", who(c), text(c, "state"), time(number(c, "gate_ns")), text(c, "sentence"));
  say_order(c);
  say_trouble(c);
  say_memory(c);
  say_wait(c, part(found, "lease"));
  if (const auto paused = number(c, "paused_ns"))
    fmt::print("  in all    paused for {}, of {} connected\n", time(paused), time(number(c, "connected_ns")));
}

bool is_meant(const json& c, const std::string& name) {
  return text(c, "tenant") == name || fmt::format("{}", number(c, "pid")) == name;
}

// Every client that is meant, with what it is on: {"client", "lease", "gpu"}.
std::vector<json> clients_called(const json& status, const std::string& name) {
  std::vector<json> found;
  for (const auto& gpu : part(status, "gpus"))
    for (const auto& c : part(gpu, "clients"))
      if (is_meant(c, name))
        found.push_back({{"client", c}, {"lease", gpu.value("lease", json())}, {"gpu", number(gpu, "gpu")}});
  return found;
}

constexpr const char* phases[] = {"closed", "drained", "evicted", "restored", "opened", "first_kernel"};
constexpr const char* meanings[] = {"the others' gates were closed",
                                    "their work on the card had ended",
                                    "their memory had left",
                                    "its own memory was there",
                                    "its gate was open",
                                    "its first kernel ran"};

double in_ms(std::uint64_t ns) { return static_cast<double>(ns) / 1e6; }

void say_switch(const json& s) {
  std::string from;
  for (const auto& victim : part(s, "from")) from += (from.empty() ? "" : ", ") + who(victim);
  fmt::print("switch {}: from {} to {}, because of: {}\n", number(s, "id"), from.empty() ? "nobody" : from,
             who(part(s, "to")), text(s, "reason"));
  const auto& all = part(s, "phases");
  const auto start = number(all, "seen");
  std::vector<std::pair<std::uint64_t, const char*>> steps;
  for (std::size_t i = 0; i < std::size(phases); ++i)
    if (const auto at = number(all, phases[i]); at != 0 && at >= start) steps.emplace_back(at, meanings[i]);
  std::stable_sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto before = start; const auto& [at, meaning] : steps) {
    fmt::print("  {:>10.1f} ms  (+{:.1f})  {}\n", in_ms(at - start), in_ms(at - before), meaning);
    before = at;
  }
  fmt::print("  {} left, {} came\n", bytes(number(s, "evicted_bytes")), bytes(number(s, "restored_bytes")));
}

// Of what the broker still remembers, the last one of that number; else null.
json switch_called(const std::string& runtime_dir, const std::string& name, int& code) {
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (error != std::errc{} || end != name.data() + name.size()) return nullptr;
  auto broker = Connection::open(runtime_dir, code);
  if (!broker) return nullptr;
  if (!broker.send("{\"cmd\":\"events\"}")) {
    code = complain(failure, "lulld has hung up");
    return nullptr;
  }
  json found;
  for (std::string line; broker.receive(line);)
    if (auto event = json::parse(line, nullptr, false);
        event.is_object() && text(event, "event") == "switch" && number(event, "id") == id)
      found = std::move(event);
  return found;
}

struct WhyOptions {
  std::string whom;
  bool json = false;
};

int tell(const WhyOptions& options, const std::vector<json>& clients, const json& change) {
  if (options.json) {
    fmt::print("{}\n", one_line({{"schema", 1}, {"clients", clients}, {"switch", change}}));
    return ok;
  }
  for (const auto& client : clients) say_client(client);
  if (change.is_object()) say_switch(change);
  return ok;
}

int why(const Context& context, const WhyOptions& options) {
  int code = ok;
  const auto status = answer_to(context.runtime_dir, {{"cmd", "status"}}, code);
  if (status.is_null()) return code;
  if (const auto clients = clients_called(status, options.whom); !clients.empty()) return tell(options, clients, {});
  const auto change = switch_called(context.runtime_dir, options.whom, code);
  if (code != ok) return code;
  if (change.is_object()) return tell(options, {}, change);
  return complain(not_there,
                  fmt::format("no tenant, process or switch is called \"{}\"; `lull status` names the tenants, "
                              "`lull events` the switches",
                              options.whom));
}

}  // namespace

Action set_up_why(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<WhyOptions>();
  arguments.operand("whom", Takes::tenant, options->whom, "a tenant's name, a process, or the number of a switch");
  arguments.flag("--json", options->json, "as one JSON object");
  return [options, &context] { return why(context, *options); };
}

}  // namespace lull::cli

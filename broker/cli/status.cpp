// broker/cli/status.cpp: lull status: one screen of what the broker knows.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"
#include "broker/cli/top_render.h"

namespace lull::cli {
namespace {

void print_last_switch(const json& s) {
  if (s.empty()) return;
  const auto& phases = part(s, "phases");
  const auto start = number(phases, "seen");
  fmt::print("last switch  {} to {} (pid {}): ", text(s, "reason"), text(part(s, "to"), "tenant"),
             number(part(s, "to"), "pid"));
  for (const char* phase : {"closed", "drained", "evicted", "restored", "opened", "first_kernel"})
    if (const auto at = number(phases, phase); at >= start && at != 0)
      fmt::print(" {} +{:.1f}ms", phase, static_cast<double>(at - start) / 1e6);
  fmt::print("  out {}  in {}\n", bytes(number(s, "evicted_bytes")), bytes(number(s, "restored_bytes")));
}

void print_clients(const json& clients) {
  if (clients.empty()) return fmt::print("  no clients: start a program with `lull run --class training -- COMMAND`\n");
  fmt::print("  {:<20} {:>8} {:<11} {:<10} {:>9} {:>9} {:>9} {:>7} {:>9}  {}\n", "TENANT", "PID", "CLASS", "STATE",
             "RESIDENT", "NEEDED", "EVICTED", "WAITING", "PAUSED", "WHY");
  for (const auto& c : clients)
    fmt::print("  {:<20.20} {:>8} {:<11} {:<10} {:>9} {:>9} {:>9} {:>7} {:>9}  {}\n", text(c, "tenant"),
               number(c, "pid"), text(c, "class"), text(c, "state"), bytes(number(c, "resident")),
               bytes(number(c, "needed")), bytes(number(c, "evicted")), number(c, "waiting"),
               time(number(c, "paused_ns")), why_of(c));
}

std::string rate(std::uint64_t n) { return fmt::format("{:.1f}GB/s", static_cast<double>(n) / 1e9); }

void print_speed(const json& gpu) {
  const auto& s = part(gpu, "speed");
  if (s.empty()) return fmt::print("link {}\n", text(gpu, "measured"));
  fmt::print("link out {} in {}, both at once {} and {}, full speed from {}", rate(number(s, "to_host")),
             rate(number(s, "to_device")), rate(number(s, "to_host_both")), rate(number(s, "to_device_both")),
             number(s, "knee") < 1u << 20 ? fmt::format("{}KiB", number(s, "knee") >> 10) : bytes(number(s, "knee")));
  const auto& p = part(gpu, "prediction");
  if (const auto moved = number(p, "moved_ns"))
    fmt::print("; {} switches took {:.2f} of what was predicted", number(p, "switches"),
               static_cast<double>(moved) / static_cast<double>(std::max<std::uint64_t>(number(p, "predicted_ns"), 1)));
  fmt::print("\n");
}

void print_strangers(const json& gpu) {
  const auto& wish = part(gpu, "wish");
  if (!wish.empty())
    fmt::print(
        "{} are kept free for programs without Lull, for another {} (lull free, uid {}); {} of it are still theirs to "
        "take\n",
        bytes(number(wish, "bytes")), time(number(wish, "left_ns")), number(wish, "uid"),
        bytes(number(gpu, "kept_free")));
  const auto& strangers = part(gpu, "strangers");
  if (strangers.empty()) return;
  std::string all;
  for (const auto& s : strangers)
    all += fmt::format("{}{} (pid {}) {}", all.empty() ? "" : ", ", text(s, "command"), number(s, "pid"),
                       bytes(number(s, "used")));
  fmt::print("not managed  {}\n", all);
}

void print_gpu(const json& gpu) {
  fmt::print("\ngpu {}  {}  {}  free {}  other programs {}\n", number(gpu, "gpu"), text(gpu, "uuid"),
             bytes(number(gpu, "memory")), bytes(number(gpu, "free")), bytes(number(gpu, "foreign")));
  const auto& lease = part(gpu, "lease");
  if (lease.empty())
    fmt::print("the card is nobody's");
  else
    fmt::print("the card is {}'s (pid {}) since {}: {}", text(lease, "tenant"), number(lease, "pid"),
               time(number(lease, "since_ns")), text(lease, "sentence"));
  fmt::print("    switches {}  preemptions {}  moved out {} in {}\n", number(gpu, "switches"),
             number(gpu, "preemptions"), bytes(number(gpu, "evicted_bytes")), bytes(number(gpu, "restored_bytes")));
  if (gpu.value("thrashing", false))
    fmt::print(
        "thrashing: more than half of the last minute went into switches; fewer programs on the card, or a longer "
        "keep_alive\n");
  print_speed(gpu);
  print_last_switch(part(gpu, "last_switch"));
  print_strangers(gpu);
  print_clients(part(gpu, "clients"));
}

void print(const json& s) {
  const auto& host = part(s, "host");
  fmt::print("lulld {}  up {}  host memory for evicted data {} of {}\n", text(s, "version"),
             time(number(s, "uptime_ns")), bytes(number(host, "held")), bytes(number(host, "budget")));
  for (const auto& note : part(s, "notes"))
    if (note.is_string()) fmt::print("note: {}\n", note.get<std::string>());
  if (const auto dropped = number(s, "dropped")) fmt::print("dropped for protocol errors: {}\n", dropped);
  for (const auto& gpu : part(s, "gpus")) print_gpu(gpu);
}

// One line whatever happens: nobody reads the errors of a status line.
int print_short(const Context& context) {
  std::string why_not, line;
  auto broker = Connection::try_open(context.runtime_dir, why_not);
  if (broker) broker.give_up_after(std::chrono::seconds(1));
  const bool there = broker && broker.send("{\"cmd\":\"status\"}") && broker.receive(line);
  const auto answer = there ? json::parse(line, nullptr, false) : json();
  if (!answer.is_object()) {
    fmt::print("lull off\n");
    return no_broker;
  }
  fmt::print("{}\n", short_line(view_of(answer, {}, [](const auto& name) { return name; })));
  return ok;
}

struct StatusOptions {
  bool json = false, brief = false;
};

int status(const Context& context, const StatusOptions& options) {
  if (options.brief) return print_short(context);
  int code = ok;
  std::string line;
  if (!ask(context.runtime_dir, {{"cmd", "status"}}, line, code)) return code;
  if (options.json) {
    fmt::print("{}\n", line);
    return ok;
  }
  const auto answer = object_in(line, code);
  if (answer.is_null()) return code;
  print(answer);
  return ok;
}

}  // namespace

Action set_up_status(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<StatusOptions>();
  arguments.flag("--json", options->json, "as one JSON object");
  arguments.flag("--short", options->brief,
                 "one line for a prompt or tmux: who has the card, memory in use, requests in flight, paused programs");
  return [options, &context] { return status(context, *options); };
}

}  // namespace lull::cli

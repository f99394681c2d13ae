// broker/cli/ps.cpp: lull ps: every process that is known to use a card, with Lull or without.
#include <fmt/format.h>

#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/show.h"

namespace lull::cli {
namespace {

void print_row(const json& gpu, const json& p, const char* name, const std::string& klass, const std::string& state,
               const std::string& held) {
  const auto order = text(p, "order");
  const auto remains = number(p, "order_left_ns");
  fmt::print(
      "{:>3} {:>8} {:<12} {:<11} {:>9}  {}{}\n", number(gpu, "gpu"), number(p, "pid"), klass, state, held,
      text(p, name),
      order == "-" ? "" : fmt::format(" ({}{})", order, remains ? fmt::format(", for another {}", time(remains)) : ""));
}

void print_gpu(const json& gpu) {
  for (const auto& c : part(gpu, "clients"))
    print_row(gpu, c, "tenant", text(c, "class"), text(c, "state"), bytes(number(c, "resident") + number(c, "native")));
  for (const auto& s : part(gpu, "strangers"))
    print_row(gpu, s, "command", "-", "not managed", bytes(number(s, "used")));
}

json cards_of(const json& status) {
  json cards = json::array();
  for (const auto& gpu : part(status, "gpus"))
    cards.push_back({{"gpu", number(gpu, "gpu")},
                     {"uuid", text(gpu, "uuid")},
                     {"clients", part(gpu, "clients")},
                     {"strangers", part(gpu, "strangers")}});
  return cards;
}

int ps(const Context& context, bool as_json) {
  int code = ok;
  const auto status = answer_to(context.runtime_dir, {{"cmd", "status"}}, code);
  if (status.is_null()) return code;
  if (as_json) {
    fmt::print("{}\n", one_line({{"schema", 1}, {"gpus", cards_of(status)}}));
    return ok;
  }
  fmt::print("{:>3} {:>8} {:<12} {:<11} {:>9}  {}\n", "GPU", "PID", "CLASS", "STATE", "HOLDS", "NAME");
  for (const auto& gpu : part(status, "gpus")) print_gpu(gpu);
  return ok;
}

}  // namespace

Action set_up_ps(Arguments& arguments, const Context& context) {
  auto as_json = std::make_shared<bool>(false);
  arguments.flag("--json", *as_json, "as one JSON object");
  return [as_json, &context] { return ps(context, *as_json); };
}

}  // namespace lull::cli

#include "broker/cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "broker/cli/commands.h"

namespace lull::cli {
namespace {

struct DoctorOptions {
  bool as_json = false;
  std::string container;
  std::vector<std::string> command;
};

using Check = void (*)(const Patient&, Findings&);
constexpr Check checks[] = {check_driver,       check_toolkit, check_modes,   check_device_nodes,
                            check_device_links, check_library, check_cgroups, check_locked_memory,
                            check_engines,      check_broker,  check_sockets, check_early_wake,
                            check_host_memory,  check_spill,   check_cards};

const char* name_of(Health health) {
  constexpr const char* names[] = {"ok", "warn", "fail"};
  return names[static_cast<std::size_t>(health)];
}

Patient look_at(const std::string& runtime_dir) {
  Patient patient{runtime_dir, nullptr, {}};
  auto broker = Connection::try_open(runtime_dir, patient.no_answer);
  if (!broker) return patient;
  std::string line;
  patient.no_answer = "lulld has hung up without an answer";
  if (!broker.send("{\"cmd\":\"status\"}") || !broker.receive(line)) return patient;
  auto status = json::parse(line, nullptr, false);
  patient.no_answer = "lulld's answer makes no sense";
  if (status.is_object()) patient.status = std::move(status);
  return patient;
}

void print(const Findings& findings) {
  for (const auto& f : findings) {
    fmt::print("{:<4} {:<14} {}\n", name_of(f.health), f.name, f.text);
    if (!f.to_do.empty()) fmt::print("     {:<14} -> {}\n", "", f.to_do);
  }
}

json json_of(const Findings& findings, bool well) {
  json list = json::array();
  for (const auto& f : findings) {
    json entry = {{"check", f.name}, {"health", name_of(f.health)}, {"text", f.text}, {"figures", f.figures}};
    entry["to_do"] = f.to_do.empty() ? json(nullptr) : json(f.to_do);
    list.push_back(std::move(entry));
  }
  return {{"schema", 1}, {"well", well}, {"findings", std::move(list)}};
}

int doctor(const Context& context, const DoctorOptions& options) {
  if (!options.command.empty()) return observe(options.command);
  const Patient patient = look_at(context.runtime_dir);
  Findings findings;
  if (options.container.empty())
    for (const Check check : checks) check(patient, findings);
  else
    check_container(patient, options.container, findings);
  const bool well =
      std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.health == Health::fail; });
  if (options.as_json)
    fmt::print("{}\n", one_line(json_of(findings, well)));
  else
    print(findings);
  return well ? ok : failure;
}

}  // namespace

Action set_up_doctor(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<DoctorOptions>();
  arguments.flag("--json", options->as_json, "as one JSON object");
  arguments.option("--container", Takes::text, options->container,
                   "look into this container of Docker's or podman's instead: are its programs under Lull?");
  arguments.command("command", options->command,
                    "run this program as it is, and show what Lull would move of it, and what it would not see", false);
  arguments.about("It changes nothing. Exits with 1 if a check fails; a warning is no failure.");
  return [options, &context] { return doctor(context, *options); };
}

}  // namespace lull::cli

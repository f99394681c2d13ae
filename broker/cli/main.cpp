// broker/cli/main.cpp: lull: what people type.
#include <CLI/CLI.hpp>
#include <filesystem>

#include "broker/cli/cli.h"

using namespace lull;

int main(int argc, char** argv) {
  std::string runtime_dir = cli::default_runtime_dir();
  cli::Status status;
  cli::Events events;
  cli::Run run;
  cli::Why why;
  cli::Wake wake;
  cli::Doctor doctor;

  CLI::App app("lull: runs programs under Lull and shows what it does");
  app.require_subcommand(1);
  app.set_version_flag("--version", "lull " LULL_VERSION);
  app.add_option("--runtime-dir", runtime_dir, "the broker's directory (also LULL_RUNTIME_DIR)")->capture_default_str();

  auto* show = app.add_subcommand("status", "who has the card, who waits, and why");
  show->add_flag("--json", status.json, "as one JSON object");

  auto* tell = app.add_subcommand("events", "switches, with the time of each phase; clients that come and go");
  tell->add_flag("--json", events.json, "as JSON, one object a line");
  tell->add_flag("--follow", events.follow, "go on with what happens from now on");

  auto* explain = app.add_subcommand("why", "why a tenant runs or waits, or what a switch took its time for");
  explain->add_option("whom", why.whom, "a tenant's name, a process, or the number of a switch")->required();

  auto* call = app.add_subcommand("wake", "a request is about to come: have the service's memory on the card");
  call->add_option("service", wake.whom, "a tenant's name, or a process")->required();
  call->add_option("--for", wake.lasts, "how long to expect it")->capture_default_str();

  auto* examine =
      app.add_subcommand("doctor", "what is as it should be on this machine, and what to do about the rest");
  examine->add_flag("--json", doctor.json, "as one JSON object");

  auto* start = app.add_subcommand("run", "run a program under Lull: lull run --class training -- python train.py");
  start->add_option("--class", run.klass, "training, interactive or inference");
  start->add_option("--tenant", run.tenant, "name shown to people; processes with the same name belong together");
  start->add_option("command", run.command, "the program and its arguments, after --")->required();
  start->prefix_command(false);
  start->positionals_at_end();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? cli::ok : cli::usage;  // help and version are no errors
  }
  std::error_code unresolved;  // the program may change its directory before it looks there
  if (const auto absolute = std::filesystem::absolute(runtime_dir, unresolved); !unresolved)
    runtime_dir = absolute.lexically_normal().string();
  while (runtime_dir.size() > 1 && runtime_dir.back() == '/') runtime_dir.pop_back();
  status.runtime_dir = events.runtime_dir = run.runtime_dir = why.runtime_dir = wake.runtime_dir = doctor.runtime_dir =
      runtime_dir;
  if (*show) return cli::status(status);
  if (*tell) return cli::events(events);
  if (*call) return cli::wake(wake);
  if (*explain) return cli::why(why);
  if (*examine) return cli::doctor(doctor);
  return cli::run(run);
}

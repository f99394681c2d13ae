// broker/main.cpp: lulld: arguments, configuration, start and stop.
#include <systemd/sd-daemon.h>

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "broker/arenas.h"
#include "broker/broker.h"
#include "broker/cards.h"
#include "broker/config.h"
#include "broker/hook.h"
#include "broker/log.h"
#include "broker/measure.h"
#include "broker/privileges.h"
#include "broker/scheduling.h"
#include "broker/spill_copy.h"
#include "broker/units.h"

using namespace lull;

namespace {

constexpr const char* usual_config = "/etc/lull/lull.toml";

struct Options {
  std::string config, runtime_dir = "/run/lull", state_dir;
  bool check_config = false, describe_config = false;
};

// The usual file may be missing; one that was named may not.
ConfigResult read_config(const Options& options) {
  if (!options.config.empty()) return load_config(options.config);
  if (!std::filesystem::exists(usual_config)) return Config{};
  return load_config(usual_config);
}

int fail(const std::string& what) {
  log::error("{}", what);
  return 1;
}

void reload(Broker& broker, const Options& options) {
  (void)sd_notify(0, "RELOADING=1");  // without a service manager nobody listens
  const auto config = read_config(options);
  if (const auto* problem = std::get_if<ConfigProblem>(&config)) {
    log::error("reload why=\"{}\"; keeping the old configuration", problem->text);
    (void)sd_notifyf(0, "READY=1\nSTATUS=Old configuration kept: %s", problem->text.c_str());
    return;
  }
  broker.reload(std::get<Config>(config));
  log::info("reload; what is said of the cards takes effect at the next start");
  (void)sd_notify(0, "READY=1\nSTATUS=Configuration reloaded");
}

// Nothing: it has failed, and said so. Who keeps all rights unasked does not serve.
std::optional<std::vector<std::string>> give_up_the_rest() {
  const auto rights = give_up_rights();
  if (!rights) {
    log::error("rights cannot be given up: {}: {}", rights.error().what, std::strerror(rights.error().code));
    return std::nullopt;
  }
  log::info("rights kept=\"{}\"", fmt::join(rights->kept, " "));
  if (rights->threads > 0) log::notice("{} threads of libraries were there before, and keep theirs", rights->threads);
  return rights->kept;
}

// What serves one purpose of lulld's in a process of its own needs no rights for it.
template <class F>
int help(F&& f) {
  if (const auto status = give_up_all_rights(); !status) return 1;
  return f();
}

Status serve(Loop& loop, Broker& broker, const Options& options) {
  const auto stop = [&] {
    (void)sd_notify(0, "STOPPING=1");
    broker.leave();
    loop.stop();
  };
  auto term = loop.signal(SIGTERM, stop), interrupt = loop.signal(SIGINT, stop);
  auto hup = loop.signal(SIGHUP, [&] { reload(broker, options); });
  auto usr1 = loop.signal(SIGUSR1, [&] {
    broker.announce_restart();
    (void)sd_notify(0, "STATUS=A restart is announced");
  });
  for (const auto* source : {&term, &interrupt, &hup, &usr1})
    if (!*source) return source->error();
  if (auto opened = broker.open(); !opened) return opened;
  loop.serve_watchdog();
  (void)sd_notify(0, "READY=1\nSTATUS=Serving");
  return loop.run();
}

int run(const Options& options, const Config& config) {
  std::string why_no_nvml;
  const auto nvml = Nvml::open(&why_no_nvml);
  auto cards = find_cards(config, nvml.get(), why_no_nvml);
  if (const auto* problem = std::get_if<CardsProblem>(&cards)) return fail(problem->text);
  auto& found = std::get<std::vector<Card>>(cards);
  if (!nvml) log::notice("{}; memory of programs without Lull is not seen", why_no_nvml);
  std::vector<PromisedCard> promised;
  for (const auto& card : found) promised.push_back({card.uuid, card.total(), card.chunk()});
  auto dir = open_runtime_dir(options.runtime_dir, promised);
  if (const auto* problem = std::get_if<RuntimeDirProblem>(&dir)) return fail(problem->text);
  auto& runtime_dir = std::get<RuntimeDir>(dir);
  for (const auto& note : runtime_dir.notes) log::notice("{}", note);
  auto loop = Loop::make();
  if (!loop) return fail(loop.error().what);
  // Signals are for the loop; the broker's threads, made next, must not take them.
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&blocked, signal);
  (void)::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  raise_descriptor_limit();
  const auto priority = raise_priority();
  Broker::Prepared prepared;
  prepared.requests = Requests::load(prepared.notes);
  if (auto rights = give_up_the_rest())
    prepared.rights = std::move(*rights);
  else
    return 1;
  Broker broker(*loop, config, found, nvml.get(), std::move(runtime_dir), options.state_dir, std::move(prepared));
  const bool locked = lock_memory();
  for (const auto& card : found)
    log::info("gpu {} memory={} promised={} chunk={}", show_uuid(card.uuid), show_bytes(card.memory),
              show_bytes(card.total()), show_bytes(card.chunk()));
  log::info("start version={} dir={} priority=\"{}\" memory_locked={}", LULL_VERSION, options.runtime_dir, priority,
            locked);
  const auto status = serve(*loop, broker, options);
  if (!status) return fail(fmt::format("{}: {}", status.error().what, std::strerror(status.error().code)));
  log::info("stop");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // For its own child processes (hook.h). Not among the options: what follows is somebody else's command line.
  if (argc > 3 && std::string_view(argv[1]) == "--run-hook") return run_hook({argv + 2, argv + argc});
  Options options;
  std::vector<std::uint64_t> touch;
  std::vector<std::string> measure, fill;
  std::vector<std::uint64_t> save;
  if (const char* named = std::getenv("STATE_DIRECTORY")) options.state_dir = named;  // by the service manager
  CLI::App app("lulld, the broker: shares an NVIDIA GPU between requests and training");
  app.add_option("--config", options.config,
                 fmt::format("configuration file (default: {} if it exists)", usual_config));
  app.add_option("--runtime-dir", options.runtime_dir, "directory of the sockets")->capture_default_str();
  app.add_option(
      "--state-dir", options.state_dir,
      "directory for what is measured of each card (default: STATE_DIRECTORY; without one nothing is measured)");
  app.add_flag("--check-config", options.check_config, "read the configuration, say what is wrong with it, and end");
  app.add_flag("--describe-config", options.describe_config, "print every key with its default and meaning, and end");
  app.add_option("--touch-arena", touch)->expected(2, 3)->group("");  // for its own child processes (arenas.h)
  app.add_option("--measure-card", measure)->expected(2)->group("");  // likewise (measure.h)
  app.add_option("--spill-save", save)->expected(3)->group("");       // likewise (spill_copy.h)
  app.add_option("--spill-fill", fill)->expected(3)->group("");
  app.set_version_flag("--version", "lulld " LULL_VERSION);
  CLI11_PARSE(app, argc, argv);
  if (touch.size() >= 2)
    return help([&] {
      return touch_arena(static_cast<int>(touch[0]), touch[1],
                         touch.size() == 3 ? std::optional(static_cast<unsigned>(touch[2])) : std::nullopt);
    });
  if (measure.size() == 2) return help([&] { return measure_card(measure[0], std::atoi(measure[1].c_str())); });
  if (save.size() == 3) return help([&] { return spill_save({save[0], save[1] != 0, save[2]}); });
  if (fill.size() == 3)
    return help([&] {
      return spill_fill(std::strtoull(fill[0].c_str(), nullptr, 10),
                        {std::strtoull(fill[1].c_str(), nullptr, 16), std::strtoull(fill[2].c_str(), nullptr, 16)});
    });
  if (options.describe_config) return std::fputs(config_markdown().c_str(), stdout) < 0 ? 1 : 0;
  const auto config = read_config(options);
  if (const auto* problem = std::get_if<ConfigProblem>(&config)) return fail(problem->text);
  if (options.check_config) return 0;
  return run(options, std::get<Config>(config));
}

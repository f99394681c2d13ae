// tests/arrival/watch_main.cpp: arrival-watch: the kernel programs with the rules that lulld gives them, without lulld.
//
//   arrival-watch [--port N | --pid N]...   service 0, 1, ... in this order; "ready" when they are watched
//   each line on standard input             a line of JSON: the counters of each service, and the events so far
//   end of input                            the end
//
// Exits 77 where BPF is not permitted, with the reason.
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "broker/service_rules.h"

namespace {

using namespace lull;

bool watch(Arrivals& arrivals, std::uint32_t service, const char* how, int number) {
  std::string why_not;
  const bool by_port = std::strcmp(how, "--port") == 0;
  const bool done = by_port ? arrivals.watch_port(service, static_cast<std::uint16_t>(number), &why_not)
                            : arrivals.watch(service, number, &why_not);
  if (!done) fmt::print(stderr, "arrival-watch: {}\n", why_not);
  arrivals.set_filter(service, make_filter(0, {}, {}));
  return done;
}

nlohmann::json counters(const Arrivals& arrivals, std::uint32_t services, std::uint64_t events) {
  nlohmann::json all = nlohmann::json::array();
  for (std::uint32_t id = 0; id < services; ++id) {
    const auto c = arrivals.counters(id);
    all.push_back(
        {{"waiting", c.waiting}, {"arrivals", c.arrivals}, {"ignored", c.ignored}, {"completions", c.completions}});
  }
  return {{"services", all}, {"events", events}};
}

}  // namespace

int main(int argc, char** argv) {
  std::string why_not;
  const auto arrivals = Arrivals::load(&why_not);
  if (!arrivals) {
    fmt::print("skipped: {}\n", why_not);
    return 77;
  }
  std::uint32_t services = 0;
  for (int i = 1; i + 1 < argc; i += 2)
    if (!watch(*arrivals, services++, argv[i], std::atoi(argv[i + 1]))) return 1;
  fmt::print("ready\n");
  std::fflush(stdout);
  std::uint64_t events = 0;
  for (char line[64]; std::fgets(line, sizeof line, stdin) != nullptr;) {
    arrivals->consume([&](const Event& event) { events += event.kind == EventKind::arrival ? 1 : 0; });
    fmt::print("{}\n", counters(*arrivals, services, events).dump());
    std::fflush(stdout);
  }
  return 0;
}

// tests/gpu/facts/main.cpp: asks a card its questions, one after the other: one JSON object a line.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "broker/cli/child.h"
#include "broker/nvml.h"
#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {

std::vector<Entry>& entries() {
  static std::vector<Entry> all;
  return all;
}

namespace {

int measure(const Entry& entry, bool quick) {
  Fact fact;
  fact.quick = quick;
  json answer = {{"fact", entry.name}, {"asks", entry.asks}, {"question", entry.question}};
  try {
    entry.body(fact);
    answer["state"] = "measured";
    answer["sentence"] = fact.sentence;
  } catch (const Skip& why) {
    answer["state"] = "skipped";
    answer["sentence"] = why.what();
  } catch (const std::exception& why) {
    answer["state"] = "failed";
    answer["sentence"] = why.what();
  }
  answer["figures"] = fact.figures;
  fmt::print("{}", answer.dump(-1, ' ', false, json::error_handler_t::replace));
  (void)std::fflush(stdout);
  ::_exit(0);  // a driver that has been asked odd things is not asked to tidy up
}

json run(const Entry& entry, bool quick, std::chrono::seconds limit) {
  const auto said = cli::in_child([&] { return measure(entry, quick); }, limit);
  auto answer = json::parse(said.text, nullptr, false);
  if (answer.is_object()) return answer;
  const auto why = said.end == cli::ChildOutput::End::too_late
                       ? fmt::format("no answer within {} s: it hangs, or waits for something", limit.count())
                       : std::string("its process has ended without an answer");
  return {{"fact", entry.name}, {"asks", entry.asks}, {"question", entry.question},
          {"state", "failed"},  {"sentence", why},    {"figures", json::object()}};
}

json about_the_card() {
  const auto said = cli::in_child(
      [] {
        std::string why_not;
        const auto nvml = Nvml::open(&why_not);
        Card card;
        char name[128] = "";
        OK(cuDeviceGetName, name, sizeof name, card.device);
        int cuda = 0;
        OK(cuDriverGetVersion, &cuda);
        fmt::print("{}", json{{"name", name},
                              {"driver", nvml ? nvml->driver_version() : ""},
                              {"cuda", cuda},
                              {"free_bytes", card.free_bytes()}}
                             .dump());
        return 0;
      },
      std::chrono::seconds(30));
  const auto card = json::parse(said.text, nullptr, false);
  return card.is_object() ? card : json{{"name", ""}, {"driver", ""}};
}

}  // namespace
}  // namespace lull::facts

int main(int argc, char** argv) {
  using namespace lull::facts;
  CLI::App app{
      "Asks the first GPU and its driver what only they can answer. One JSON object a line on standard output."};
  bool list = false, quick = false;
  std::vector<std::string> only;
  int limit_s = 60;
  app.add_flag("--list", list, "the questions");
  app.add_flag("--quick", quick, "small and few: to see that it works");
  app.add_option("--only", only, "these facts");
  app.add_option("--limit", limit_s, "seconds for one fact")->check(CLI::Range(1, 600));
  CLI11_PARSE(app, argc, argv);
  const std::set<std::string> wanted(only.begin(), only.end());
  for (const auto& name : wanted)
    if (std::none_of(entries().begin(), entries().end(), [&](const Entry& e) { return name == e.name; })) {
      fmt::print(stderr, "no fact is called \"{}\"; --list names them\n", name);
      return 2;
    }
  auto all = entries();
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return std::string(a.name) < b.name; });
  if (!list) fmt::print("{}\n", json{{"card", about_the_card()}, {"quick", quick}}.dump());
  int failed = 0;
  for (const Entry& entry : all) {
    if (!wanted.empty() && wanted.count(entry.name) == 0) continue;
    if (list) {
      fmt::print("{:<24} {:<9} {}\n", entry.name, entry.asks, entry.question);
      continue;
    }
    const auto answer = run(entry, quick, std::chrono::seconds(limit_s));
    fmt::print("{}\n", answer.dump(-1, ' ', false, json::error_handler_t::replace));
    (void)std::fflush(stdout);
    failed += answer["state"] == "failed";
  }
  return failed == 0 ? 0 : 1;
}

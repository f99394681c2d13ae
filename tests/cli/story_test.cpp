// What lull trace makes of a broker's answers, also of strange ones; of a real broker: tests/system/trace_test.py.
#include "broker/cli/story.h"

#include <doctest/doctest.h>

#include "broker/cli/picture.h"
#include "broker/cli/svg.h"
#include "broker/cli/trace_json.h"
#include "broker/units.h"
#include "tests/cli/text.h"

using namespace lull;
using namespace lull::cli;
using namespace lull::cli::test;
using nlohmann::json;

namespace {

constexpr std::uint64_t msec = 1'000'000;

json a_chart() {
  return {{"now_ns", 1000 * msec},
          {"doings", {"gone", "running", "evicting"}},
          {"gpus",
           {{{"gpu", 0},
             {"uuid", "GPU-1"},
             {"memory", 1024 * mib},
             {"clients",
              {{{"client", 1}, {"pid", 11}, {"tenant", "night"}, {"class", "training"}},
               {{"client", 2}, {"pid", 12}, {"tenant", "<faces>"}, {"class", "inference"}}}},
             {"points",
              {{100 * msec, 1, 1, 600 * mib},
               {200 * msec, 1, 1, 700 * mib},
               {500 * msec, 1, 2, 700 * mib},
               {700 * msec, 1, 2, 100 * mib},
               {600 * msec, 2, 1, 300 * mib},
               {900 * msec, 2, 0, 0}}}}}}};
}

json a_switch() {
  return {{"event", "switch"},
          {"gpu", "GPU-1"},
          {"id", 7},
          {"preemption", true},
          {"to", {{"client", 2}}},
          {"from", {{{"client", 1}}}},
          {"phases",
           {{"seen", 490 * msec},
            {"closed", 500 * msec},
            {"evicted", 700 * msec},
            {"restored", 720 * msec},
            {"first_kernel", 710 * msec}}}};
}

// As it comes over the socket: a literal's numbers are signed.
Story story(const json& chart, const std::vector<json>& events = {a_switch()}) {
  std::vector<json> read;
  for (const auto& event : events) read.push_back(json::parse(event.dump()));
  return story_of(json::parse(chart.dump()), read);
}

}  // namespace

TEST_CASE("what a client did follows without gaps until it left or now") {
  const auto s = story(a_chart());
  REQUIRE(s.cards.size() == 1);
  REQUIRE(s.cards[0].actors.size() == 2);
  const auto &service = s.cards[0].actors[0], &trainer = s.cards[0].actors[1];  // the higher class first
  CHECK(service.tenant == "<faces>");
  REQUIRE(trainer.doings.size() == 2);
  CHECK(trainer.doings[0].doing == "running");
  CHECK(trainer.doings[0].to == trainer.doings[1].from);
  CHECK(trainer.doings[1].to == 1000 * msec);
  REQUIRE(service.doings.size() == 1);
  CHECK(service.doings[0].to == 900 * msec);
  CHECK(trainer.resident_at(50 * msec) == 0);
  CHECK(trainer.resident_at(200 * msec) == 700 * mib);
  CHECK(trainer.resident_at(699 * msec) == 700 * mib);
  CHECK(s.begin == 100 * msec);
}

TEST_CASE("the parts of a switch end with its first kernel, also when a phase was noticed after it") {
  const auto s = story(a_chart()).cards[0].switches.at(0);
  REQUIRE(s.parts.size() == 4);
  CHECK(s.parts.front().from == 490 * msec);
  CHECK(s.parts.back().to == 710 * msec);
  for (std::size_t i = 1; i < s.parts.size(); ++i) CHECK(s.parts[i].from == s.parts[i - 1].to);
}

TEST_CASE("names are other people's bytes") {
  CHECK(xml("a<b>&\"c\"\n\x01") == "a&lt;b&gt;&amp;&quot;c&quot;??");
  const auto s = story(a_chart());
  const auto picture = picture_of(s.cards[0], {s.begin, s.end});
  CHECK(has(picture, "&lt;faces&gt;"));
  CHECK_FALSE(has(picture, "<faces>"));
}

TEST_CASE("the picture of a switch goes from before its request to after its end") {
  const auto s = story(a_chart());
  const auto& one = s.cards[0].switches[0];
  const auto window = window_of(s.cards[0], one, s.end);
  CHECK(window.from < one.seen);
  CHECK(window.to > one.first_kernel);
  CHECK(has(picture_of(s.cards[0], window), "&lt;faces&gt; takes the card from night"));
}

TEST_CASE("answers of another shape are drawn as far as they are understood") {
  auto chart = a_chart();
  chart["gpus"][0]["points"].push_back("nonsense");
  chart["gpus"][0]["points"].push_back({1, 99, 1, 1});           // of a client that nobody has named
  chart["gpus"][0]["points"].push_back({950 * msec, 1, 77, 1});  // doing something that has no name
  auto event = a_switch();
  event["phases"] = 3;
  const auto s = story(chart, {a_switch(), event, json::array(), {{"event", "switch"}}});
  CHECK(s.cards[0].switches.size() == 1);
  CHECK(s.cards[0].actors[1].doings.back().doing == "unknown");
  CHECK(trace_of(s)["traceEvents"].size() > 5);
  chart["gpus"][0]["memory"] = 0;
  const auto none = story(chart, {});
  CHECK(has(picture_of(none.cards[0], {5, 5}), "</svg>"));
  for (const auto& strange : {json::object(), json{{"gpus", 3}}, json{{"gpus", {1, nullptr}}}})
    CHECK(trace_of(story(strange))["traceEvents"].is_array());
}

// lull top without a terminal: what is made of the broker's answers, as lines.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "broker/cli/container_names.h"
#include "broker/cli/top_render.h"

using namespace lull::cli;

namespace {

constexpr std::uint64_t G = 1ull << 30, second = 1'000'000'000;

json client(unsigned id, const std::string& tenant, const char* klass, std::uint64_t resident, std::uint64_t needed) {
  return {{"client", id},
          {"pid", 1000 + id},
          {"uid", 1000},
          {"class", klass},
          {"tenant", tenant},
          {"needed", needed},
          {"resident", resident},
          {"native", 0},
          {"evicted", needed - resident},
          {"state", resident < needed ? "evicted" : "running"},
          {"sentence", "because"},
          {"paused_ns", 25 * second},
          {"connected_ns", 100 * second}};
}

json card(const json& clients) {
  return {{"gpu", 0}, {"uuid", "GPU-1"}, {"memory", 24 * G}, {"free", 2 * G}, {"foreign", 1 * G}, {"clients", clients}};
}

json answer(const json& clients) {
  return {{"version", "9.9"},
          {"now_ns", 1000 * second},
          {"uptime_ns", 3600 * second},
          {"host", {{"held", 4 * G}, {"budget", 48 * G}}},
          {"gpus", json::array({card(clients)})}};
}

json many(unsigned count) {
  json clients = json::array();
  for (unsigned i = 0; i < count; ++i)
    clients.push_back(client(i, fmt::format("tenant-{}", i), i ? "training" : "inference", i % 2 ? 0 : G / 2, G));
  return clients;
}

json change(unsigned id) {
  const auto seen = (900 + id) * second, ms = std::uint64_t{1'000'000};
  return {{"event", "switch"},
          {"id", id},
          {"reason", "request"},
          {"from", {{{"tenant", "trainer"}}}},
          {"to", {{"tenant", "faces"}}},
          {"evicted_bytes", 4 * G},
          {"restored_bytes", 3 * G},
          {"phases",
           {{"seen", seen},
            {"closed", seen + ms},
            {"drained", seen + 3 * ms},
            {"evicted", seen + 600 * ms},
            {"restored", nullptr},
            {"opened", seen + 2 * ms},
            {"first_kernel", seen + 610 * ms}}}};
}

json as_sent(const json& value) { return json::parse(one_line(value)); }

TopView view(const json& status, unsigned switches = 0) {
  std::deque<json> events;
  for (unsigned i = 0; i < switches; ++i) events.push_back(as_sent(change(i)));
  return view_of(as_sent(status), events, [](const auto& name) { return name; });
}

std::string page(const TopView& v, const Paper& paper) {
  std::string all;
  for (const auto& line : render(v, paper)) all += plain_text(line) + "\n";
  return all;
}

bool shows(const std::string& page, const std::string& text) { return page.find(text) != std::string::npos; }

}  // namespace

TEST_CASE("whatever the terminal's size and however many tenants: nothing is wider or longer than it") {
  for (const unsigned count : {0u, 1u, 2u, 40u})
    for (const unsigned columns : {1u, 10u, 37u, 80u, 120u, 200u})
      for (const unsigned rows : {1u, 5u, 24u, 50u})
        for (const bool ascii : {false, true}) {
          const auto lines = render(view(answer(many(count)), 20), {.columns = columns, .rows = rows, .ascii = ascii});
          CHECK(lines.size() <= rows);
          for (const auto& line : lines) {
            unsigned width = 0;
            for (const auto& span : line) width += columns_of(span.text);
            CHECK(width <= columns);
            if (ascii)
              CHECK(plain_text(line).find_first_not_of(
                        " !\"#$%&'()*+,-./"
                        "0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") ==
                    std::string::npos);
          }
        }
}

TEST_CASE("80x24 with one tenant: everything about it is there, and the switches fill what is left") {
  auto status = answer(json::array({client(1, "faces", "inference", 6 * G, 6 * G)}));
  status["gpus"][0]["lease"] = {
      {"tenant", "faces"},      {"client", 1}, {"pid", 1001}, {"since_ns", 400'000'000}, {"left_ns", 4'600'000'000},
      {"sentence", "a request"}};
  status["gpus"][0]["clients"][0]["waiting"] = 2;
  status["gpus"][0]["time"] = {{"recovered_ns", 82260 * second}};
  const auto text = page(view(status, 30), {.columns = 80, .rows = 24, .ascii = true});
  for (const char* words :
       {"lull 9.9", "training recovered 22h51m", "gpu 0 faces since 0.4s, 4.6s left, 2 requests in flight",
        "|faces 6.0G=", "| 7.0G/24.0G", "reserve 15.0G", "* faces", "inference", "25%", "q quit"})
    CHECK_MESSAGE(shows(text, words), words, "\n", text);
  CHECK(std::count(text.begin(), text.end(), '\n') == 24);
  CHECK(shows(text, "trainer -> faces"));
}

TEST_CASE("where there are several cards, a switch says on which it was, and the newest is first") {
  auto status = answer(many(1));
  CHECK_FALSE(shows(page(view(status, 2), {.columns = 80, .rows = 24, .ascii = true}), "gpu 0  trainer"));
  status["gpus"].push_back(card(many(1)));
  status["gpus"][1]["gpu"] = 1;
  status["gpus"][1]["uuid"] = "GPU-2";
  auto late = change(2), early = change(1), unknown = change(0);
  late["gpu"] = "GPU-2";
  early["gpu"] = "GPU-1";
  unknown["gpu"] = "GPU-3";
  const auto v =
      view_of(as_sent(status), {as_sent(late), as_sent(unknown), as_sent(early)}, [](const auto& n) { return n; });
  const auto text = page(v, {.columns = 80, .rows = 24, .ascii = true});
  const auto first = text.find("gpu 1  trainer -> faces"), second_one = text.find("gpu 0  trainer -> faces");
  CHECK_MESSAGE(first != std::string::npos, text);
  CHECK(second_one != std::string::npos);
  CHECK(first < second_one);
  CHECK(shows(text, "        trainer -> faces"));
}

TEST_CASE("40 tenants on 24 rows: the count of those that are not shown is told, and scrolling reaches the last") {
  const auto v = view(answer(many(40)), 20);
  const auto first = page(v, {.columns = 80, .rows = 24});
  CHECK(shows(first, "0 above, "));
  CHECK(shows(first, "tenant-0 "));
  CHECK(!shows(first, "tenant-39 "));
  const auto last = page(v, {.columns = 80, .rows = 24, .scrolled = 39});
  CHECK(shows(last, ", 0 below"));
  CHECK(shows(last, "tenant-39 "));
  CHECK(shows(first, "20 tenants 10.0G"));  // those too small for the bar are one
  const auto all = page(v, {.columns = 200, .rows = 0, .keys = false});
  for (unsigned i = 0; i < 40; ++i) CHECK(shows(all, fmt::format("tenant-{} ", i)));
}

TEST_CASE("a bar's stretches are as long as their shares, and together as long as the bar") {
  const auto line =
      bar({{"a", 50, Tint::plain, '='}, {"b", 25, Tint::plain, 'x'}, {"tiny", 1, Tint::plain, '-'}}, 100, 101, true);
  REQUIRE(line.size() == 4);
  CHECK(columns_of(line[0].text) == 50);
  CHECK(columns_of(line[1].text) == 25);
  CHECK(columns_of(line[2].text) == 1);
  CHECK(columns_of(line[3].text) == 25);
  CHECK(bar({{"a", 0, Tint::plain, '='}}, 0, 80, true).empty());
  CHECK(plain_text(bar({{"over", 300, Tint::plain, '='}}, 100, 20, true)).size() == 20);  // sums that make no sense
}

TEST_CASE("one line for a status bar") {
  auto status = answer(many(2));
  CHECK(short_line(view(status)) == "idle 22.0G/24.0G 2paused");
  status["gpus"][0]["lease"] = {{"tenant", "tenant-0"}, {"client", 0}};
  status["gpus"][0]["clients"][0]["state"] = "running";
  status["gpus"][0]["clients"][0]["waiting"] = 3;
  CHECK(short_line(view(status)) == "tenant-0 22.0G/24.0G 3req 1paused");
}

TEST_CASE("processes of one tenant are one row; of another user, or class, another") {
  auto other = client(4, "job", "training", G, G);
  other["uid"] = 1001;
  const auto v = view(answer(json::array({client(1, "job", "training", G, G), client(2, "job", "training", 0, 2 * G),
                                          client(3, "job", "inference", G, G), other})));
  REQUIRE(v.gpus.size() == 1);
  REQUIRE(v.gpus[0].tenants.size() == 3);
  const auto& t = *std::find_if(v.gpus[0].tenants.begin(), v.gpus[0].tenants.end(),
                                [](const auto& tenant) { return tenant.pids.size() == 2; });
  CHECK(t.on_card == G);
  CHECK(t.evicted == 2 * G);
  CHECK(t.state == "evicted");  // of the one that is worse off
  CHECK(shows(page(v, {.rows = 0}), "job x2"));
}

TEST_CASE("phases are told in the order in which they happened, each since the one before") {
  const auto v = view(answer(json::array()), 2);
  REQUIRE(v.switches.size() == 2);
  CHECK(v.switches[0].id == 1);  // the newest first
  std::string told;
  for (const auto& phase : v.switches[0].phases) told += fmt::format("{} {} ", phase.name, phase.took_ns / 1'000'000);
  CHECK(told == "close 1 open 1 drain 1 evict 597 kernel 10 ");
  CHECK(v.switches[0].total_ns == 610'000'000);
}

TEST_CASE("names of strangers cannot speak to the terminal") {
  const auto v = view(answer(json::array({client(1, "evil\x1b[2J\xff\n", "training", G, G)})));
  CHECK(shows(page(v, {.rows = 0}), "evil?[2J??"));
}

TEST_CASE("an answer that says nothing, or nonsense, is shown as far as it goes") {
  CHECK(shows(page(view(json::object()), {.rows = 24}), "lull -"));
  const auto odd = json{{"gpus", {1, "x", {{"clients", {nullptr, 7, {{"tenant", 3}}}}, {"memory", -1}}}}, {"host", 3}};
  CHECK(!page(view(odd), {.rows = 24}).empty());
  CHECK(json_of(view(odd)).is_object());
}

TEST_CASE("containers have the names that their engine gives them; an engine is not asked again and again") {
  unsigned asked = 0;
  ContainerNames names([&](const std::vector<std::string>& words) {
    ++asked;
    return words.front() == "docker" ? "0123456789abcdef00 shop-faces-1\nffffffffffff other\nshort x\n" : std::string();
  });
  const auto now = std::chrono::steady_clock::now();
  CHECK(names("docker:0123456789ab") == "docker:0123456789ab");
  CHECK(names("faces.service") == "faces.service");
  CHECK(names.learn(now));
  CHECK(asked == 2);
  CHECK(names("docker:0123456789ab") == "shop-faces-1");
  CHECK(names("podman:aaaaaaaaaaaa") == "podman:aaaaaaaaaaaa");
  CHECK(!names.learn(now + std::chrono::seconds(1)));
  CHECK(asked == 2);
}

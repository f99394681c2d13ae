#include "broker/config.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "broker/config_show.h"
#include "broker/units.h"

using namespace lull;
using policy::ms;
using policy::second;

namespace {

Config good(std::string_view text) {
  const auto result = parse_config(text, "lull.toml");
  if (const auto* problem = std::get_if<ConfigProblem>(&result)) FAIL(problem->text);
  return std::get<Config>(result);
}

std::string bad(std::string_view text) {
  const auto result = parse_config(text, "lull.toml");
  REQUIRE(std::holds_alternative<ConfigProblem>(result));
  return std::get<ConfigProblem>(result).text;
}

}  // namespace

TEST_CASE("sizes and durations are read as people write them") {
  CHECK(parse_bytes("20GiB") == 20ull << 30);
  CHECK(parse_bytes("600MB") == 600'000'000);
  CHECK(parse_bytes("1.5 GiB") == 3ull << 29);
  CHECK(parse_bytes("0") == 0);
  CHECK(parse_time("20ms") == 20 * ms);
  CHECK(parse_time("10min") == 600 * second);
  CHECK(parse_time("never") == policy::never);
  for (const char* nonsense : {"", "20", "-1GiB", "GiB", "20 gib", "1e5B", "nanGiB", "inf", "99999999TiB", "20GiBx"}) {
    CAPTURE(nonsense);
    CHECK_FALSE(parse_bytes(nonsense));
    CHECK_FALSE(parse_time(nonsense));
  }
}

TEST_CASE("what is shown can be read again") {
  for (const policy::Bytes bytes : {0ull, 1ull, 2ull << 20, 600'000'000ull, 20ull << 30, 256ull << 20})
    CHECK(parse_bytes(show_bytes(bytes)) == bytes);
  for (const policy::Time time : {policy::Time{0}, 20 * ms, 30 * second, 600 * second, 2500'000ul, policy::never})
    CHECK(parse_time(show_time(time)) == time);
}

TEST_CASE("an empty file is the defaults") {
  const auto config = good("");
  CHECK(config.rules.linger_min == policy::Rules{}.linger_min);
  CHECK_FALSE(config.host_memory);
  CHECK(config.cards.empty());
}

TEST_CASE("each value is told with where it comes from, so that it can be read again") {
  const auto config =
      good("[policy]\nkeep_alive = \"7s\"\n[[service]]\ntenant = \"faces\"\nports = [\"80\", \"81\"]\n");
  const auto rows = config_rows(config);
  const auto row = [&](std::string_view key) {
    const auto at = std::find_if(rows.begin(), rows.end(), [&](const ConfigRow& r) { return r.key == key; });
    REQUIRE(at != rows.end());
    return *at;
  };
  CHECK(std::get<std::string>(row("policy.keep_alive").value) == "7s");
  CHECK(row("policy.keep_alive").from_file);
  CHECK(std::get<std::string>(row("policy.linger_min").value) == "1s");
  CHECK_FALSE(row("policy.linger_min").from_file);
  CHECK(std::get<std::vector<std::string>>(row("service[0].ports").value).size() == 2);
  CHECK(row("host_memory").value.index() == 0);
  CHECK(row("host_memory").otherwise != "");
  CHECK(row("gpu.slots").otherwise == "");
  CHECK(std::none_of(rows.begin(), rows.end(), [](const ConfigRow& r) { return r.key == "gpu.uuid"; }));
}

TEST_CASE("every section takes effect") {
  const auto config = good(R"(
host_memory = "40GiB"
[limits]
clients_per_uid = 3
[policy]
keep_alive = "never"
linger_min = "2s"
drain_limit = "0"
armed_drain_limit = "5ms"
[gpu]
residue = "24MiB"
slots = 2
)");
  CHECK(config.host_memory == 40ull << 30);
  CHECK(config.clients_per_uid == 3);
  CHECK(config.rules.keep_alive == policy::never);
  CHECK(config.rules.linger_min == 2 * second);
  CHECK(config.rules.drain_limit_us == 0);
  CHECK(config.rules.armed_drain_limit_us == 5000);
  CHECK(config.sizes.residue == 24u << 20);
  CHECK(config.sizes.slots == 2);
}

TEST_CASE("a card is described by its uuid") {
  const auto config = good("[[gpu]]\nuuid = \"GPU-01234567-89ab-cdef-0123-456789abcdef\"\nmemory = \"24GiB\"\n");
  REQUIRE(config.cards.size() == 1);
  CHECK(show_uuid(config.cards[0].uuid) == "GPU-01234567-89ab-cdef-0123-456789abcdef");
  CHECK(config.cards[0].memory == 24ull << 30);
  CHECK(config.cards[0].sizes.slots == CardSizes{}.slots);
}

TEST_CASE("an unknown key is an error with file, line and the nearest known key") {
  CHECK(bad("\n[policy]\nlinger_mim = \"1s\"\n") ==
        "lull.toml:3: unknown key in [policy] \"linger_mim\"; did you mean \"linger_min\"?");
  CHECK(bad("host_memroy = \"1GiB\"") == "lull.toml:1: unknown key \"host_memroy\"; did you mean \"host_memory\"?");
  CHECK(bad("linger_min = \"1s\"") == "lull.toml:1: \"linger_min\" belongs in [policy]");
  CHECK(bad("[polcy]\n") == "lull.toml:1: unknown key \"polcy\"; did you mean \"policy\"?");
  CHECK(bad("zzzzzzzzzzzz = 1").find("known are: host_memory") != std::string::npos);
}

TEST_CASE("what is said of a service is found by its tenant") {
  const auto config = good(
      "[[service]]\ntenant = \"faces\"\nports = [8000, \"8001\"]\nwake_on = [\"redis:6379\"]\nmin_request_bytes = "
      "\"2KiB\"\n"
      "ignore = [\"GET /stats*\"]\nignore_from = [\"10.0.0.0/8\"]\n[[service]]\ntenant = \"voices\"\n");
  REQUIRE(config.services.size() == 2);
  const auto& faces = config.service("faces");
  CHECK(faces.ports == std::vector<std::string>{"8000", "8001"});
  CHECK(faces.wake_on == std::vector<std::string>{"redis:6379"});
  CHECK(faces.min_request_bytes == 2048);
  CHECK(faces.ignore.size() == 1);
  CHECK(config.service("nobody").ports.empty());
  CHECK(bad("[[service]]\nports = [8000]").find("needs a tenant") != std::string::npos);
  CHECK(bad("[[service]]\ntenant = \"a\"\n[[service]]\ntenant = \"a\"").find("a second [[service]]") !=
        std::string::npos);
  CHECK(bad("[[service]]\ntenant = \"a\"\nports = 8000") == "lull.toml:3: ports must be a list: [\"...\"]");
  CHECK(bad("[[service]]\ntenant = \"a\"\nignore = [\"stats\"]").find("is no rule") != std::string::npos);
  CHECK(bad("[[service]]\ntenant = \"a\"\nport = [1]").find("did you mean \"ports\"") != std::string::npos);
  CHECK(bad("service = 3").find("[[service]]") != std::string::npos);
  CHECK(bad("wake_on = [\"x:1\"]").find("belongs in [[service]]") != std::string::npos);
}

TEST_CASE("an impossible value is named with what would do") {
  CHECK(bad("host_memory = \"20\"") ==
        "lull.toml:1: host_memory = \"20\" is no size; write it like \"20GiB\" or \"600MB\"");
  CHECK(bad("host_memory = true") == "lull.toml:1: host_memory must be text or a whole number");
  CHECK(bad("[gpu]\nslots = 900") == "lull.toml:2: slots = \"900\" must be between 1 and 64");
  CHECK(bad("[gpu]\nslots = -1") == "lull.toml:2: slots = \"-1\" is no whole number");
  CHECK(bad("[policy]\nlinger_min = \"40s\"").find("linger_min is longer than linger_max") != std::string::npos);
  CHECK(bad("[policy]\nunproven_close = \"5s\"").find("must be between 0 and 1s") != std::string::npos);
  CHECK(bad("[[gpu]]\nmemory = \"1GiB\"").find("needs a uuid") != std::string::npos);
  CHECK(bad("[gpu]\nmemory = \"1GiB\"").find("write [[gpu]]") != std::string::npos);
  CHECK(bad("[[gpu]]\nuuid = \"GPU-01234567-89ab-cdef-0123-456789abcdef\"\nmemory = \"1GiB\"").find("leaves nothing") !=
        std::string::npos);
  CHECK(bad("spill_path = \"spill\"").find("no absolute path") != std::string::npos);
  CHECK(bad("gpu = 3").find("must be a section") != std::string::npos);
  CHECK(bad("[policy").rfind("lull.toml:1: ", 0) == 0);
}

TEST_CASE("a list of texts is taken as it is, and anything else in its place is named") {
  CHECK(good("on_stuck = [\"/bin/mail\", \"a b\"]").on_stuck == std::vector<std::string>{"/bin/mail", "a b"});
  CHECK(good("").on_stuck_user == "nobody");
  CHECK(good("on_stuck_user = \"mail\"").on_stuck_user == "mail");
  CHECK(bad("on_stuck = \"/bin/mail\"").find("must be a list") != std::string::npos);
  CHECK(bad("on_stuck = [\"mail\"]").find("whole path") != std::string::npos);
  CHECK(bad("on_stuck = [\"\"]").find("empty") != std::string::npos);
  CHECK(bad("on_stuck = [true]").find("must be text") != std::string::npos);
  CHECK(bad("host_memory = [\"1GiB\"]").find("must be text") != std::string::npos);
}

TEST_CASE("gangs and pipelines are named by their tenants") {
  const auto config = good("gangs = [\"job\"]\n[[service]]\ntenant = \"ocr\"\npipeline = \"product\"\n");
  CHECK(config.gangs == std::vector<std::string>{"job"});
  CHECK(config.service("ocr").pipeline == "product");
  CHECK(config.service("another").pipeline.empty());
  CHECK(bad("[[service]]\ntenant = \"ocr\"\npipeline = \"\"\n").find("empty") != std::string::npos);
}

TEST_CASE("a missing file says so") {
  const auto result = load_config("/nonexistent/lull.toml");
  REQUIRE(std::holds_alternative<ConfigProblem>(result));
  CHECK(std::get<ConfigProblem>(result).text == "cannot read /nonexistent/lull.toml: No such file or directory");
}

TEST_CASE("the documentation is what the table says") {
  const char* path = std::getenv("LULL_CONFIGURATION_DOC");
  REQUIRE(path);
  std::ifstream file(path);
  const std::string written{std::istreambuf_iterator<char>(file), {}};
  CHECK_MESSAGE(written == config_markdown(), "lulld --describe-config > docs/configuration.md");
}

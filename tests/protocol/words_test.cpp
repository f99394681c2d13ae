#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "protocol/words.h"

#include <doctest/doctest.h>

#include <cstring>

#include "protocol/page.h"
#include "protocol/reason.h"

using namespace lull;

TEST_CASE("a page of zeroes reads unmanaged, unlimited and running") {
  DownPage down{};
  UpPage up{};
  CHECK(parse_gate(down.gpu[0].gate) == GateWord{0, GateState::unmanaged});
  CHECK_FALSE(parse_limit(down.gpu[0].quota_plus_1).has_value());
  CHECK(parse_phase(up.gpu[max_gpus - 1].phase) == PhaseWord{0, Phase::running, Overdue::none});
}

TEST_CASE("gate words survive packing, whatever the generation") {
  for (const std::uint64_t generation : {0ull, 1ull, 77ull, (1ull << 62) - 1})
    for (const auto state : {GateState::unmanaged, GateState::closed, GateState::open})
      CHECK(parse_gate(pack(GateWord{generation, state})) == GateWord{generation, state});
}

TEST_CASE("a gate word with the fourth state is refused") { CHECK_FALSE(parse_gate(3).has_value()); }

TEST_CASE("phase words survive packing and their unknown values are refused") {
  const PhaseWord word{123456789, Phase::overdue, Overdue::capture_open};
  CHECK(parse_phase(pack(word)) == word);
  CHECK_FALSE(parse_phase(6 << 4).has_value());
  CHECK_FALSE(parse_phase(8).has_value());
  CHECK_FALSE(parse_phase(~0ull).has_value());
}

TEST_CASE("a limit of zero bytes is told from no limit") {
  CHECK(parse_limit(pack_limit(0)) == std::optional<std::uint64_t>(0));
  CHECK(parse_limit(pack_limit(std::nullopt)) == std::nullopt);
}

TEST_CASE("classes are known by name and by number, and nothing else is") {
  for (const Class c : all_classes) {
    CHECK(parse_class(name_of(c)) == c);
    CHECK(parse_class(static_cast<std::uint8_t>(c)) == c);
  }
  CHECK_FALSE(parse_class("trainer").has_value());
  CHECK_FALSE(parse_class(static_cast<const char*>(nullptr)).has_value());
  CHECK_FALSE(parse_class(std::uint8_t{3}).has_value());
}

TEST_CASE("every reason has a name and a sentence") {
  CHECK(std::strcmp(name_of(Reason::does_not_fit), "does_not_fit") == 0);
  CHECK(std::strlen(sentence_of(Reason::does_not_fit)) > 10);
  CHECK(std::strcmp(name_of(static_cast<Reason>(9999)), "?") == 0);
}

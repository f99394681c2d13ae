#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "tests/gate_model/model.h"

using lull::model::explore;
using lull::model::explore_recall;

TEST_CASE("in no order of the protocol's steps does work run on memory that is gone") {
  const auto outcome = explore({});
  INFO(outcome.violation);
  CHECK(outcome.violation.empty());
  CHECK(outcome.states > 10'000);
  CHECK(outcome.evictions > 0);
  CHECK(outcome.launches_after_a_move > 0);
}

TEST_CASE("without the membarrier a thread that is inside is overlooked") {
  CHECK_FALSE(explore({.membarrier = false}).violation.empty());
}

TEST_CASE("without waiting for entry words a thread is overtaken between its loads and its launch") {
  CHECK_FALSE(explore({.entry_words = false}).violation.empty());
}

TEST_CASE("a thread that loads the hold before the gate can miss both") {
  const auto outcome = explore({.gate_before_hold = false});
  CHECK(outcome.violation.find("loads the hold") < outcome.violation.find("sets the hold"));
}

TEST_CASE("a mover that does not look at the gate again unmaps after it has opened") {
  CHECK_FALSE(explore({.gate_checked_again = false}).violation.empty());
}

TEST_CASE("the gate alone does not keep threads from memory that is gone") {
  CHECK_FALSE(explore({.hold_checked = false}).violation.empty());
}

TEST_CASE("in no order of the steps does credit that is taken back come again, or a submission go uncounted") {
  const auto outcome = explore_recall({});
  INFO(outcome.violation);
  CHECK(outcome.violation.empty());
  CHECK(outcome.states > 500);
  CHECK(outcome.taken > 0);
  CHECK(outcome.counted > 0);
}

TEST_CASE("a thread that does not look at the recall gives itself the old credit again") {
  CHECK_FALSE(explore_recall({.recall_checked = false}).violation.empty());
}

TEST_CASE("a recall that is set after threads have been looked for misses who has come in meanwhile") {
  CHECK_FALSE(explore_recall({.recall_first = false}).violation.empty());
}

TEST_CASE("without the membarrier credit is taken from a thread that is counting") {
  CHECK_FALSE(explore_recall({.membarrier = false}).violation.empty());
}

TEST_CASE("without entry words credit is taken from a thread that is counting") {
  CHECK_FALSE(explore_recall({.entry_words = false}).violation.empty());
}

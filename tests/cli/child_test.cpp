// What another process says, whatever it does.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "broker/cli/child.h"

using namespace lull::cli;
using namespace std::chrono_literals;
using End = ChildOutput::End;

TEST_CASE("what a child says and how it ends") {
  const auto said = in_child(
      [] {
        std::printf("one\ntwo");
        return 3;
      },
      10s);
  CHECK(said.end == End::exited);
  CHECK(said.status == 3);
  CHECK(said.text == "one\ntwo");
  CHECK_FALSE(said.good());
  CHECK(in_child([] { return ::raise(SIGKILL); }, 10s).end == End::killed);
  CHECK(in_child([] { return 0; }, 10s).good());
}

TEST_CASE("a child that never ends is killed, with what it has started") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const auto said = in_child(
      [&] {
        (void)::close(ends[0]);
        (void)std::printf("before");
        (void)std::fflush(stdout);
        (void)::fork();
        for (;;) (void)::pause();
        return 0;
      },
      100ms);
  CHECK(said.end == End::too_late);
  CHECK(said.text == "before");
  (void)::close(ends[1]);
  char nothing = 0;
  CHECK(::read(ends[0], &nothing, 1) == 0);  // all who could write are gone
  (void)::close(ends[0]);
}

TEST_CASE("a child that closes its output and goes on is killed, too") {
  const auto said = in_child(
      [] {
        (void)::close(STDOUT_FILENO);
        for (;;) (void)::pause();
        return 0;
      },
      100ms);
  CHECK(said.end == End::too_late);
}

TEST_CASE("more than anybody reads is not read") {
  const auto said = run_program({"yes"}, 20s);
  CHECK(said.end == End::killed);
  CHECK(said.text.size() >= longest_output);
  CHECK(said.text.size() < longest_output + 65536);
}

TEST_CASE("programs, found in PATH or not") {
  CHECK(run_program({"echo", "a  b"}, 10s).text == "a  b\n");
  const auto none = run_program({"no-program-of-this-name"}, 10s);
  CHECK(none.end == End::exited);
  CHECK(none.status == 127);
}

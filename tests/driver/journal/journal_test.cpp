#include "tests/driver/journal/journal.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <thread>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

std::string output_of(const std::string& command) {
  std::FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe);
  std::string text;
  char part[4096];
  while (const std::size_t n = std::fread(part, 1, sizeof part, pipe)) text.append(part, n);
  CHECK_EQ(WEXITSTATUS(::pclose(pipe)), 0);
  return text;
}

std::size_t count_of(const std::vector<Record>& records, const char* function) {
  std::size_t count = 0;
  for (const Record& r : records) count += r.kind == Kind::call && function_name(r.function) == function;
  return count;
}

}  // namespace

TEST_CASE("what happened between two marks can be told, whoever wrote them") {
  const TestContext context;
  OK(cuMemRelease(create(granule)));
  REQUIRE(mark_journal(journal_path(), "marks: closed", 7));
  const auto handle = create(3 * granule);
  const pid_t other = ::fork();  // a process that has nothing to do with the driver
  if (other == 0) ::_exit(mark_journal(journal_path(), "marks: open") ? 0 : 1);
  int status = -1;
  ::waitpid(other, &status, 0);
  REQUIRE_EQ(status, 0);
  OK(cuMemRelease(handle));
  const auto during = between(read_journal(journal_path()), "marks: closed", "marks: open");
  REQUIRE_EQ(count_of(during, "cuMemCreate"), 1);
  CHECK_EQ(count_of(during, "cuMemRelease"), 0);
  CHECK_EQ(during[0].bytes, 3 * granule);
  CHECK(between(during, "never", "again").empty());
}

TEST_CASE("a mark has a text of 1 to 16 characters") {
  CHECK_FALSE(mark_journal(journal_path(), ""));
  CHECK_FALSE(mark_journal(journal_path(), "seventeen letters"));
  CHECK_EQ(errno, EINVAL);
  CHECK_FALSE(mark_journal("/nowhere/at/all", "text"));
  CHECK_EQ(errno, ENOENT);
}

TEST_CASE("marks of several processes and threads all arrive, in blocks of their own") {
  const std::string path = journal_path() + ".marks";
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&path, t] {
      for (int i = 0; i < 400; ++i) (void)mark_journal(path, "many", t * 400 + i);
    });
  }
  for (auto& thread : threads) thread.join();
  const auto records = read_journal(path);
  CHECK_EQ(::unlink(path.c_str()), 0);
  REQUIRE_EQ(records.size(), 1600);
  std::vector<bool> seen(1600);
  for (const Record& r : records) seen.at(static_cast<std::size_t>(r.result)) = true;
  CHECK(std::find(seen.begin(), seen.end(), false) == seen.end());
}

TEST_CASE("journal-dump explains every column, and tells card and time scale before all else") {
  REQUIRE(mark_journal(journal_path(), "say \"hello\""));
  const std::string table = output_of(LULL_SIM_JOURNAL_DUMP " " + journal_path());
  CHECK(table.starts_with("# card         Lull simulated GPU\n# time scale   1\n"));
  for (const char* column : {"start_us", "lasted_us", "late_us", "pid tid", "device", "stream", "kind", "result",
                             "address", "bytes", "what"}) {
    CHECK_MESSAGE(table.find(std::string("\n# ") + column) != std::string::npos, column);
  }
  const std::string lines = output_of(LULL_SIM_JOURNAL_DUMP " --ndjson " + journal_path());
  CHECK(lines.starts_with("{\"kind\":\"heading\",\"card\":\"Lull simulated GPU\",\"time_scale\":1}\n"));
  CHECK_NE(lines.find("\"text\":\"say \\\"hello\\\"\""), std::string::npos);
}

TEST_CASE("a file that is no journal is told from an empty one") {
  std::string problem;
  CHECK(read_journal("/dev/null", &problem).empty());
  CHECK_EQ(problem, "/dev/null is no journal of the simulated GPU");
  CHECK(read_journal("/nowhere/at/all", &problem).empty());
  CHECK_NE(problem.find("cannot open"), std::string::npos);
}

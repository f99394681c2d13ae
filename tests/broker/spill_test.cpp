// What may be written to disk in a day, what waits for host memory, and what a helper process says of a copy.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "broker/backing.h"
#include "broker/spill_copy.h"
#include "broker/spiller.h"
#include "broker/units.h"
#include "broker/write_budget.h"

using namespace lull;
using policy::Bytes;

namespace {

class Folder {
 public:
  Folder() { REQUIRE(::mkdtemp(path_) != nullptr); }
  ~Folder() {
    std::error_code gone;
    std::filesystem::remove_all(path_, gone);
  }
  std::string path(const std::string& name = "") const { return path_ + (name.empty() ? "" : "/" + name); }

 private:
  char path_[32] = "/tmp/lull-spill-XXXXXX";
};

Claim starved(policy::ClientId id, Bytes needed, Bytes backing, Bytes away) {
  Backed b{.id = id, .needed = needed, .backing = backing, .away = away, .chunk = 128 * mib};
  b.starved = true;
  return {b, needed, needed};
}

}  // namespace

TEST_CASE("what is written on a day is gone from its budget, and the next day has its own") {
  WriteBudget budget({}, 100);
  CHECK(budget.left(gib, 100) == gib);
  budget.take(600 * mib, 100);
  CHECK(budget.left(gib, 100) == 424 * mib);
  budget.give_back(100 * mib);
  CHECK(budget.left(gib, 100) == 524 * mib);
  CHECK(budget.left(100 * mib, 100) == 0);
  CHECK(budget.left(gib, 101) == gib);
  budget.take(mib, 101);
  CHECK(budget.used(101) == mib);
}

TEST_CASE("the budget survives the broker; a record that makes no sense is a day used up") {
  const Folder folder;
  const auto path = folder.path("spill-writes");
  CHECK_FALSE(read_record(path));
  WriteBudget before({}, 100);
  before.take(600 * mib, 100);
  REQUIRE(write_record(path, before.record()));
  CHECK(WriteBudget(read_record(path), 100).left(gib, 100) == 424 * mib);
  CHECK(WriteBudget(read_record(path), 101).left(gib, 101) == gib);
  CHECK(WriteBudget(read_record(path), 99).left(gib, 99) == 424 * mib);  // the clock was put back
  CHECK(WriteBudget("", 100).left(gib, 100) == 0);
  CHECK(WriteBudget("much\n", 100).left(gib, 100) == 0);
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  CHECK_FALSE(write_record(path, before.record()));
  CHECK(WriteBudget(read_record(path), 100).left(gib, 100) == 0);
}

TEST_CASE("who cannot evict and finds the budget used up waits for just what is lacking") {
  const ArenaLimits limits{4 * gib, 4 * gib, 4 * gib};
  CHECK(unserved_growth({}, limits) == 0);
  const Claim served[] = {starved(1, 2 * gib, gib, 0)};
  CHECK(unserved_growth(served, limits) == 0);
  const Claim full[] = {starved(1, gib, 0, 0), starved(2, 4 * gib, 4 * gib, 0)};
  CHECK(unserved_growth(full, limits) == gib);
  const Claim half_away[] = {starved(1, gib, 0, 0), starved(2, 4 * gib, 4 * gib, 512 * mib)};
  CHECK(unserved_growth(half_away, limits) == 0);
  CHECK(next_growth(half_away, limits)->bytes == 512 * mib);  // what there is room for
  const Claim away[] = {starved(1, gib, 0, 0), starved(2, 4 * gib, 4 * gib, gib)};
  CHECK(unserved_growth(away, limits) == 0);
  CHECK(next_growth(away, limits)->id == 1);
}

TEST_CASE("what a helper says is believed only if it is what helpers say") {
  const Saved saved{{0xfedcba9876543210ull, 7}, 4 * mib, 2 * mib};
  const auto read = parse_saved(show(saved));
  REQUIRE(read);
  CHECK(read->sum == saved.sum);
  CHECK(read->written == saved.written);
  CHECK(read->rewritten == saved.rewritten);
  for (const char* wrong : {"", "1 2 3", "1 2 3 4 5", "x 2 3 4", "1 2 3 4\n"}) CHECK_FALSE(parse_saved(wrong));
}

TEST_CASE("a directory for spilled data is ours alone, and what an earlier broker left behind goes") {
  const Folder folder;
  std::ofstream(folder.path("lull-spill-abc")) << "old";
  std::ofstream(folder.path("kept")) << "somebody's";
  CHECK_FALSE(check_spill_directory(folder.path()));
  CHECK_FALSE(std::filesystem::exists(folder.path("lull-spill-abc")));
  CHECK(std::filesystem::exists(folder.path("kept")));
  CHECK(check_spill_directory(folder.path("kept"))->find("no directory") != std::string::npos);
  CHECK(check_spill_directory(folder.path("none"))->find("No such file") != std::string::npos);
  REQUIRE(::chmod(folder.path().c_str(), 0770) == 0);
  CHECK(check_spill_directory(folder.path())->find("writable") != std::string::npos);
  REQUIRE(::chmod(folder.path().c_str(), 0700) == 0);
  if (::geteuid() != 0) return;
  REQUIRE(::chown(folder.path().c_str(), 1234, 1234) == 0);
  CHECK(check_spill_directory(folder.path())->find("must belong to") != std::string::npos);
}

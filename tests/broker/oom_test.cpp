// The out-of-memory score of a program that maps backing: real processes, and what /proc says of them.
#include "broker/oom.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "broker/host_memory.h"
#include "broker/units.h"
#include "protocol/fd.h"

using namespace lull;
using policy::Bytes;

namespace {

int number_in(int pid, const char* file) {
  int value = -12345;
  std::ifstream(fmt::format("/proc/{}/{}", pid, file)) >> value;
  return value;
}
int score_adj(int pid) { return number_in(pid, "oom_score_adj"); }

// A process with so much shared memory present, and 500 in its oom_score_adj, so that no privilege is needed to lower
// it.
class Trainer {
 public:
  explicit Trainer(Bytes shared) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      std::ofstream("/proc/self/oom_score_adj") << "500";
      void* base = ::mmap(nullptr, shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
      (void)!::write(ready[1], base == MAP_FAILED ? "n" : "y", 1);
      for (;;) ::pause();
    }
    char answer = 0;
    (void)::close(ready[1]);
    REQUIRE(::read(ready[0], &answer, 1) == 1);
    (void)::close(ready[0]);
    REQUIRE(answer == 'y');
  }
  ~Trainer() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  int pid() const { return pid_; }

 private:
  int pid_ = 0;
};

struct File {
  std::string path;
  File() {
    char name[] = "/tmp/lull-oom-XXXXXX";
    const Fd made(::mkstemp(name));
    path = name;
    (void)::unlink(name);
  }
  ~File() { (void)::unlink(path.c_str()); }
  bool there() const { return ::access(path.c_str(), F_OK) == 0; }
};

constexpr Bytes shared = 128 * mib;
const Bytes machine = 1024 * mib;  // as if: an eighth of it is mapped

}  // namespace

TEST_CASE("a share is thousandths, rounded down, and never more than the machine") {
  CHECK(oom_share(0, machine) == 0);
  CHECK(oom_share(machine / 8, machine) == 125);
  CHECK(oom_share(machine / 3, machine) == 333);
  CHECK(oom_share(2 * machine, machine) == 1000);
  CHECK(oom_share(machine, 0) == 0);
}

TEST_CASE("the score goes down from what stood there, and what others write is the new base") {
  const auto first = adjusted({}, 7, 0, 100);
  CHECK(first == OomScore{7, 0, -100});
  CHECK(adjusted(first, 7, -100, 250) == OomScore{7, 0, -250});
  CHECK(adjusted(first, 7, 300, 100) == OomScore{7, 300, 200});     // an administrator has been there
  CHECK(adjusted(first, 8, -100, 100) == OomScore{8, -100, -200});  // another process of the same number
  CHECK(adjusted({}, 7, -950, 100).written == -999);
  CHECK(adjusted({}, 7, -1000, 100).written == -1000);
  CHECK(adjusted(first, 7, -100, 0).written == 0);
}

TEST_CASE("scores survive being written and read, and nonsense is left out") {
  const OomScores scores{{12, {34, 0, -5}}, {99, {7, 500, 499}}};
  const auto read = parse_scores(show_scores(scores));
  CHECK(OomScores(read.begin(), read.end()) == scores);
  CHECK(parse_scores("").empty());
  CHECK(parse_scores("1 2 3 3\n0 1 0 -1\n-5 1 0 -1\n12 34 0\n12 34 0 -5 9\n12 34 0 -2000\n12 34 0 5\nx\n").empty());
}

TEST_CASE("mapped backing lowers a real process's score by its share, and no more than is really mapped") {
  const Trainer trainer(shared);
  REQUIRE(score_adj(trainer.pid()) == 500);
  const File file;
  {
    OomKeeper keeper(file.path);
    keeper.adjust({{trainer.pid(), shared}}, machine);
    CHECK(score_adj(trainer.pid()) == 375);
    CHECK(keeper.adjusted_count() == 1);
    CHECK(keeper.error() == 0);
    keeper.adjust({{trainer.pid(), shared / 2}}, machine);  // some of it has been returned
    CHECK(score_adj(trainer.pid()) == 438);
    keeper.adjust({{trainer.pid(), 64 * shared}}, machine);  // what it has not mapped is not counted
    CHECK(score_adj(trainer.pid()) == 500 - oom_share(shared, machine));
    std::ofstream(fmt::format("/proc/{}/oom_score_adj", trainer.pid())) << "600";
    keeper.adjust({{trainer.pid(), shared}}, machine);
    CHECK(score_adj(trainer.pid()) == 475);
    keeper.adjust({}, machine);
    CHECK(score_adj(trainer.pid()) == 600);
    keeper.adjust({{trainer.pid(), shared}}, machine);
  }
  CHECK(score_adj(trainer.pid()) == 600);  // at the broker's end
  CHECK_FALSE(file.there());
}

TEST_CASE("the kernel then scores it as it would without the backing") {
  const auto host = read_host_memory();
  REQUIRE(host.total > 0);
  const Bytes much = host.total / 50;  // 2 %: 20 of the thousandths that /proc/PID/oom_score counts in
  const Trainer without(2 * mib), with(much);
  const int fair = number_in(without.pid(), "oom_score"), before = number_in(with.pid(), "oom_score");
  REQUIRE(before > fair + 5);
  const File file;
  OomKeeper keeper(file.path);
  keeper.adjust({{with.pid(), much}}, host.total + host.swap);
  const int after = number_in(with.pid(), "oom_score");
  CHECK(after <= fair + 2);
  CHECK(after >= fair - 2);
}

TEST_CASE("what a killed broker has left is put right by the next one, but not over what others have written") {
  const Trainer left(shared), touched(shared);
  const File file;
  const int child = ::fork();
  if (child == 0) {
    auto* keeper = new OomKeeper(file.path);  // ends without destructors
    keeper->adjust({{left.pid(), shared}, {touched.pid(), shared}}, machine);
    ::_exit(0);
  }
  (void)::waitpid(child, nullptr, 0);
  CHECK(score_adj(left.pid()) == 375);
  CHECK(file.there());
  std::ofstream(fmt::format("/proc/{}/oom_score_adj", touched.pid())) << "450";
  const OomKeeper next(file.path);
  CHECK(score_adj(left.pid()) == 500);
  CHECK(score_adj(touched.pid()) == 450);
  CHECK_FALSE(file.there());
}

TEST_CASE("a process that has ended is forgotten") {
  Trainer trainer(shared);
  const File file;
  OomKeeper keeper(file.path);
  keeper.adjust({{trainer.pid(), shared}}, machine);
  const int pid = trainer.pid();
  trainer.kill();
  keeper.adjust({{pid, shared}}, machine);
  CHECK(keeper.adjusted_count() == 0);
}

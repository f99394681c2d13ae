// Ends of programs that submit work on their way out, behind a closed gate.
#include <sys/wait.h>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

// A program in a role that ends as it says, managed, with the gate closed and nothing running.
class Ending {
 public:
  explicit Ending(const std::vector<std::string>& command) : program_(command, Preload::yes) {
    demand(program_.line() == "ready", "the program is ready");
    demand(comes_true([&] { return broker_->attached(); }), "the program is managed");
    broker_->gate(GateState::closed);
    demand(broker_->reaches(Phase::drained), "the program is paused");
  }
  explicit Ending(const char* name) : Ending(role(name)) {}

  void begin() const { program_.release(); }
  int status() {
    const int status = program_.wait(8);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  bool asks_for_a_turn() {
    return comes_true([&] { return broker_->up().interrupted.load() > 0; });
  }
  bool over() const { return program_.readable(0); }  // it has closed its output, or written to it
  OtherBroker& broker() { return broker_; }

 private:
  OtherBroker broker_;
  Program program_;
};

constexpr char ends_well[] = "what it submits at its end is done, its exit code stays";

void ends_soon(const char* name) {
  Ending ending(name);
  ending.begin();
  demand(ending.asks_for_a_turn(), "the broker hears that the program wants to end");
  demand(ending.status() == 6, ends_well);
}

}  // namespace

TEST_CASE("an exit handler that submits work behind a closed gate waits a second, not longer") {
  ends_soon("leave-by-return");
}

TEST_CASE("a static destructor that submits work behind a closed gate waits a second, not longer") {
  ends_soon("leave-by-destructor");
}

TEST_CASE("work and frees after everything else has ended are done, or answered as by a driver that has ended") {
  for (const bool paused : {true, false}) {
    Ending ending("leave-late");
    if (!paused) ending.broker()->gate(GateState::open);
    ending.begin();
    demand(ending.status() == 7, ends_well);
  }
}

TEST_CASE("a handler of quick_exit that submits work behind a closed gate waits a second, not longer") {
  ends_soon("leave-quickly");
}

TEST_CASE("exit() by another thread while others wait at the gate is not held up, and its handlers' work is done") {
  ends_soon("leave-by-another");
}

TEST_CASE("_exit ends a paused program at once") {
  Ending ending("leave-at-once");
  ending.begin();
  demand(ending.status() == 6, "its exit code stays");
}

TEST_CASE("an object that submits work while Python finalises waits a second at a closed gate, not longer") {
  Ending ending({"python3", "-I", std::string(LULL_LIFE_SOURCE) + "/finalise.py"});
  ending.begin();
  demand(ending.asks_for_a_turn(), "the broker hears that the program wants to end");
  demand(ending.status() == 0, ends_well);
}

TEST_CASE("what a program saves at its end is waited for where its memory is away, and it is right") {
  Ending ending("leave-by-return");
  OtherBroker& broker = ending.broker();
  broker->give_backing(64 * mib);
  demand(broker->evict_to(0), "the program's memory leaves");
  ending.begin();
  demand(ending.asks_for_a_turn(), "the broker hears that the program wants to end");
  demand(!comes_true([&] { return ending.over(); }, 2), "memory that is away is waited for");
  demand(broker->restore(), "the memory comes back");
  demand(ending.status() == 6, ends_well);
}

TEST_CASE("work submitted at the end past a closed gate is drained before the memory leaves") {
  Ending ending("leave-slowly");
  OtherBroker& broker = ending.broker();
  broker->give_backing(64 * mib);
  const std::uint64_t before = broker->up().submissions.load();
  ending.begin();
  demand(comes_true([&] { return broker->up().submissions.load() > before; }), "its work passes the closed gate");
  broker->quota(0);
  demand(comes_true([&] { return broker->up().resident.load() == 0; }), "the memory leaves after that work");
  demand(broker->restore(), "the memory comes back");
  demand(ending.status() == 6, ends_well);
}

TEST_CASE("threads that outlive main are paused as before") {
  Ending ending("leave-the-others");
  OtherBroker& broker = ending.broker();
  const std::uint64_t wants = broker->up().wants.load();
  ending.begin();
  demand(comes_true([&] { return broker->up().wants.load() > wants; }), "a thread waits at the gate");
  demand(!comes_true([&] { return ending.over(); }, 2), "main's end opens no gate");
  broker->gate(GateState::open);
  demand(ending.status() == 6, ends_well);
}

}  // namespace lull::hazards

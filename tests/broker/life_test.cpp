// The life of lulld itself: start, refusal, reload, stop, kill, restart; and the tools around it.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "broker/units.h"
#include "lulld.h"

using namespace lull;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a second broker in one directory is refused and the first goes on") {
  Lulld lulld;
  const auto second = run_program(
      {Lulld::program("lulld"), "--config", lulld.config(), "--runtime-dir", lulld.run_dir()}, {"LD_LIBRARY_PATH="});
  CHECK(second.status == 1);
  CHECK(has(second.output, "another lulld is running in " + lulld.run_dir()));
  CHECK(lulld.status()["pid"] == lulld.pid());
}

TEST_CASE("what cannot work is said with what to do") {
  const auto lulld = Lulld::program("lulld");
  const auto deep = run_program({lulld, "--runtime-dir", "/proc/nothing"}, {"LD_LIBRARY_PATH="});
  CHECK(deep.status == 1);
  CHECK(has(deep.output, "describe the card in the configuration"));
  Lulld other;
  const auto nowhere =
      run_program({lulld, "--config", other.config(), "--runtime-dir", "/proc/nothing"}, {"LD_LIBRARY_PATH="});
  CHECK(nowhere.status == 1);
  CHECK(has(nowhere.output, "cannot create directory /proc/nothing"));
  const auto longest =
      run_program({lulld, "--config", other.config(), "--runtime-dir", other.directory() + "/" + std::string(120, 'x')},
                  {"LD_LIBRARY_PATH="});
  CHECK(longest.status == 1);
  CHECK(has(longest.output, "File name too long"));
}

TEST_CASE("--check-config says whether a file would do") {
  Lulld other;
  CHECK(run_program({Lulld::program("lulld"), "--check-config", "--config", other.config()}).status == 0);
  other.write_config("[policy]\nlinger_mim = \"1s\"");
  const auto wrong = run_program({Lulld::program("lulld"), "--check-config", "--config", other.config()});
  CHECK(wrong.status == 1);
  CHECK(has(wrong.output, "lull.toml:2: unknown key in [policy] \"linger_mim\"; did you mean \"linger_min\"?"));
}

TEST_CASE("a reload takes a good file over and keeps the old one if the new is wrong") {
  Lulld lulld("host_memory = \"100MiB\"\nhost_memory_keep_free = \"0\"");
  REQUIRE(lulld.status()["host"]["budget"] == 100 * mib);
  lulld.write_config("host_memory = \"nonsense\"");
  lulld.kill(SIGHUP);
  CHECK(eventually([&] { return has(lulld.log(), "keeping the old configuration"); }));
  CHECK(lulld.status()["host"]["budget"] == 100 * mib);
  lulld.write_config("host_memory = \"200MiB\"\nhost_memory_keep_free = \"0\"");
  lulld.kill(SIGHUP);
  CHECK(eventually([&] { return lulld.status()["host"]["budget"] == 200 * mib; }));
}

TEST_CASE("a reload makes a gang of clients that are there already, and parts them again") {
  Lulld lulld;
  FakeShim one(lulld, Class::inference, "faces"), two(lulld, Class::inference, "faces");
  for (FakeShim* shim : {&one, &two}) {
    REQUIRE(shim->hello());
    shim->attach(0);
  }
  const auto gangs = [&] {
    std::vector<unsigned> numbers;
    const auto clients = lulld.gpu()["clients"];
    for (const auto& c : clients) numbers.push_back(c["gang"].is_null() ? 0 : c["gang"].get<unsigned>());
    return numbers;
  };
  const std::vector<unsigned> apart{0, 0};
  REQUIRE(eventually([&] { return gangs() == apart; }));
  lulld.write_config("gangs = [\"faces\"]");
  lulld.kill(SIGHUP);
  CHECK(eventually([&] { return gangs() != apart; }));
  const auto together = gangs();
  REQUIRE(together.size() == 2);
  CHECK(together[0] == together[1]);
  lulld.write_config("");
  lulld.kill(SIGHUP);
  CHECK(eventually([&] { return gangs() == apart; }));
}

TEST_CASE("an announced restart is in the page") {
  Lulld lulld;
  FakeShim shim(lulld, Class::training);
  REQUIRE(shim.hello());
  CHECK(shim.down.as<DownPage>()->restarting == 0);
  lulld.kill(SIGUSR1);
  CHECK(eventually([&] { return shim.down.as<DownPage>()->restarting != 0; }));
}

TEST_CASE("an orderly stop opens the gates of those whose memory is there") {
  Lulld lulld;
  FakeShim holder(lulld, Class::training), waiting(lulld, Class::training);
  REQUIRE(holder.hello());
  holder.attach(800 * mib);
  holder.busy = true;
  REQUIRE(holder.acts_until([&] { return holder.said().submissions > 0; }));
  REQUIRE(waiting.hello());
  waiting.attach(800 * mib);
  REQUIRE(waiting.acts_until([&] { return waiting.gate() == GateState::closed; }));
  CHECK(lulld.stop(SIGTERM).status == 0);
  CHECK(holder.gate() == GateState::open);
  CHECK(waiting.gate() == GateState::closed);
}

TEST_CASE("a killed broker's successor takes the directory over and learns everything from its clients") {
  Lulld lulld;
  FakeShim before(lulld, Class::training, "job");
  REQUIRE(before.hello());
  before.attach(400 * mib, 400 * mib);
  REQUIRE(before.acts_until([&] { return before.gate() == GateState::open; }));
  CHECK(lulld.stop(SIGKILL).status == 128 + SIGKILL);
  CHECK(before.hung_up());
  struct stat inner_before {
  }, inner_after{};
  REQUIRE(::stat((lulld.run_dir() + "/training/socket").c_str(), &inner_before) == 0);
  lulld.start();
  REQUIRE(::stat((lulld.run_dir() + "/training/socket").c_str(), &inner_after) == 0);
  CHECK(inner_before.st_ino == inner_after.st_ino);  // a container has it mounted
  FakeShim after(lulld, Class::training, "job");
  REQUIRE(after.hello(protocol_major, protocol_minor, 64 * mib));
  after.attach(400 * mib, 400 * mib);
  REQUIRE(after.acts_until([&] { return after.gate() == GateState::open; }));
  CHECK(lulld.client(after.number)["resident"] == 400 * mib);
  CHECK(lulld.client(after.number)["backing"] >= 64 * mib);
}

TEST_CASE("the control socket answers nonsense with a sentence and goes on") {
  Lulld lulld;
  CHECK(has(lulld.ask("{")["error"], "JSON object"));
  CHECK(has(lulld.ask("[1]")["error"], "JSON object"));
  CHECK(has(lulld.ask("{\"cmd\":7}")["error"], "cmd is missing"));
  CHECK(has(lulld.ask("{\"cmd\":\"dance\"}")["error"],
            "known are: events, chart, config, free, hold, pause, release, resume, status, unhold, wake"));
  CHECK(has(lulld.ask(std::string(100'000, 'x'))["error"], "too long"));
  CHECK(lulld.status()["schema"] == 1);
}

TEST_CASE("room for others is asked for within bounds") {
  Lulld lulld;
  CHECK(has(lulld.ask("{\"cmd\":\"pause\"}")["error"], "whom is missing"));
  CHECK(has(lulld.ask("{\"cmd\":\"resume\",\"whom\":7}")["error"], "whom is missing"));
  for (const char* lasts : {"0", "-1", "1.5", "\"1s\"", "18446744073709551615"})
    for (const char* cmd : {"pause", "release", "hold"})
      CHECK(has(lulld.ask(std::string("{\"cmd\":\"") + cmd + "\",\"whom\":\"x\",\"for_ns\":" + lasts + "}")["error"],
                "for how long?"));
  CHECK(has(lulld.ask("{\"cmd\":\"hold\",\"whom\":\"x\",\"for_ns\":3600000000001}")["error"], "limits.hold"));
  CHECK(has(lulld.ask("{\"cmd\":\"hold\",\"whom\":\"x\"}")["error"], "needs for_ns"));
  CHECK(lulld.ask("{\"cmd\":\"release\",\"whom\":\"x\"}")["pids"].empty());
  const auto free = [&](const std::string& rest) { return lulld.ask("{\"cmd\":\"free\"" + rest + "}"); };
  CHECK(has(free("")["error"], "free needs bytes"));
  CHECK(has(free(",\"bytes\":-1,\"for_ns\":1")["error"], "free needs bytes"));
  CHECK(has(free(",\"bytes\":1,\"for_ns\":0")["error"], "free needs bytes"));
  CHECK(has(free(",\"bytes\":1,\"for_ns\":18446744073709551615")["error"], "at most a week"));
  CHECK(has(free(",\"bytes\":1,\"for_ns\":1,\"gpu\":1")["error"], "which gpu"));
  CHECK(has(free(",\"bytes\":1,\"for_ns\":1,\"gpu\":[]")["error"], "which gpu"));
  CHECK(has(free(",\"bytes\":18446744073709551615,\"for_ns\":1")["error"], "at most 992MiB"));
  CHECK(free(",\"bytes\":1048576,\"for_ns\":60000000000,\"gpu\":0")["bytes"] == mib);
  CHECK(lulld.gpu()["wish"]["bytes"] == mib);
  CHECK(free(std::string(",\"bytes\":0,\"for_ns\":1,\"gpu\":\"") + test_uuid + "\"")["bytes"] == 0);
  CHECK(lulld.gpu()["wish"].is_null());
}

TEST_CASE("a hook that does not end goes with the broker") {
  const auto seconds = std::to_string(100'000 + ::getpid());  // nobody else's
  Lulld lulld("on_stuck = [\"/bin/sleep\", \"" + seconds + "\"]");
  FakeShim shim(lulld, Class::training);
  REQUIRE(shim.hello());
  shim.attach(1000 * mib);  // more than there is beside the reserves
  const auto sleeps = [&] { return run_program({"/usr/bin/pgrep", "-f", "^/bin/sleep " + seconds}).status == 0; };
  REQUIRE(shim.acts_until(sleeps));
  CHECK(lulld.stop(SIGTERM).status == 0);
  CHECK(eventually([&] { return !sleeps(); }));
}

TEST_CASE("events tell of clients that come and go, now and while one follows") {
  Lulld lulld;
  const auto lull = Lulld::program("lull");
  const auto fd = lulld.control();
  REQUIRE(fd);
  const std::string request = "{\"cmd\":\"events\",\"follow\":true}\n";
  REQUIRE(::send(fd.get(), request.data(), request.size(), 0) > 0);
  {
    FakeShim shim(lulld, Class::training, "visitor");
    REQUIRE(shim.hello());
  }
  std::string all;
  for (char buffer[4096]; !has(all, "\"disconnect\"");) {
    const auto got = ::recv(fd.get(), buffer, sizeof buffer, 0);
    REQUIRE(got > 0);
    all.append(buffer, static_cast<std::size_t>(got));
  }
  CHECK(has(all, "\"connect\""));
  const auto told = run_program({lull, "--runtime-dir", lulld.run_dir(), "events", "--json"});
  CHECK(told.status == 0);
  const auto first = nlohmann::json::parse(told.output.substr(0, told.output.find('\n')));
  CHECK(first["event"] == "connect");
  CHECK(first["client"]["tenant"] == "visitor");
  CHECK(has(run_program({lull, "--runtime-dir", lulld.run_dir(), "events"}).output, "visitor(pid "));
}

TEST_CASE("lull status shows a person what lull status --json tells a program") {
  Lulld lulld;
  const auto lull = Lulld::program("lull");
  FakeShim shim(lulld, Class::training, "night-job");
  REQUIRE(shim.hello());
  shim.attach(300 * mib);
  REQUIRE(shim.acts_until(
      [&] { return shim.said().resident == 300 * mib && lulld.client(shim.number)["resident"] == 300 * mib; }));
  const auto json =
      nlohmann::json::parse(run_program({lull, "--runtime-dir", lulld.run_dir(), "status", "--json"}).output);
  CHECK(json["gpus"][0]["clients"][0]["tenant"] == "night-job");
  const auto shown = run_program({lull, "--runtime-dir", lulld.run_dir(), "status"});
  CHECK(shown.status == 0);
  CHECK(has(shown.output, "night-job"));
  CHECK(has(shown.output, "300MiB"));
  CHECK(has(shown.output, test_uuid));
}

TEST_CASE(
    "lull why says of a tenant, by name or process, what it waits for; an unknown name is an error with a way on") {
  Lulld lulld;
  const auto lull = Lulld::program("lull");
  FakeShim shim(lulld, Class::training, "night-job");
  REQUIRE(shim.hello());
  shim.attach(300 * mib);
  REQUIRE(shim.acts_until([&] { return lulld.client(shim.number)["resident"] == 300 * mib; }));
  const auto why = [&](const std::string& whom) {
    return run_program({lull, "--runtime-dir", lulld.run_dir(), "why", whom});
  };
  const auto named = why("night-job");
  CHECK(named.status == 0);
  CHECK(has(named.output, "night-job (pid "));
  CHECK(has(named.output, "all 300MiB are on the card"));
  CHECK(has(why(std::to_string(lulld.client(shim.number)["pid"].get<int>())).output, "night-job (pid "));
  const auto unknown = why("day-job");
  CHECK(unknown.status == 4);
  CHECK(has(unknown.output, "no tenant, process or switch is called \"day-job\""));
  CHECK(why("4711").status == 4);  // no such switch
}

TEST_CASE("lull run becomes the program, with the library in front of what was preloaded") {
  Lulld lulld;
  const auto lull = Lulld::program("lull");
  const auto library = lulld.directory() + "/liblull.so";
  std::ofstream(library) << "";
  const auto run = [&](std::vector<std::string> arguments, std::vector<std::string> env = {}) {
    env.push_back("LULL_LIBRARY=" + library);
    std::vector<std::string> argv{lull, "--runtime-dir", lulld.run_dir(), "run"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run_program(argv, env);
  };
  const auto shown =
      run({"--class", "training", "--tenant", "me", "--", "/bin/sh", "-c",
           "echo $LD_PRELOAD $LULL_CLASS $LULL_RUNTIME_DIR $LULL_TENANT $*; exit 9", "x", "--class", "-q", "--"});
  CHECK(shown.status == 9);
  CHECK(has(shown.output, library + " training " + lulld.run_dir() + " me --class -q --\n"));
  const auto nested = run({"--class", "training", "--", "/bin/sh", "-c", "echo =$LD_PRELOAD="},
                          {"LD_PRELOAD=/nowhere/other.so " + library});
  CHECK(has(nested.output, "=" + library + ":/nowhere/other.so="));
  CHECK(run({"--class", "training", "--", "/nonexistent/program"}).status == 127);
  CHECK(run({"--class", "training", "--", "/etc/passwd"}).status == 126);
  CHECK(run({"--class", "gold", "--", "/bin/true"}).status == 2);
  CHECK(run({"--", "/bin/true"}).status == 2);
  CHECK(run({"--class", "training"}).status == 2);
  CHECK(run({"--class", "training", "--tenant", std::string(64, 'x'), "--", "/bin/true"}).status == 2);
  const auto missing =
      run_program({lull, "--runtime-dir", lulld.run_dir(), "run", "--class", "training", "--", "/bin/true"},
                  {"LULL_LIBRARY=/nonexistent.so"});
  CHECK(missing.status == 1);
  CHECK(has(missing.output, "name it with LULL_LIBRARY"));
}

TEST_CASE("in a container the mounted class is the class") {
  Lulld lulld;
  const auto library = lulld.directory() + "/liblull.so";
  std::ofstream(library) << "";
  const auto mounted = lulld.run_dir() + "/inference/socket";
  const auto shown = run_program({Lulld::program("lull"), "--runtime-dir", mounted, "run", "--class", "training", "--",
                                  "/bin/sh", "-c", "echo =$LULL_CLASS="},
                                 {"LULL_LIBRARY=" + library});
  CHECK(has(shown.output, "=inference="));
  CHECK(has(shown.output, "--class training is not reachable here"));
}

TEST_CASE("without a broker the commands say what to do, with a status of their own") {
  const auto lull = Lulld::program("lull");
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"status"}, {"events"}, {"run", "--class", "training", "--", "/bin/true"}}) {
    std::vector<std::string> argv{lull, "--runtime-dir", "/nonexistent/lull"};
    argv.insert(argv.end(), command.begin(), command.end());
    const auto ended = run_program(argv, {"LULL_LIBRARY=/etc/passwd"});
    CAPTURE(ended.output);
    CHECK(ended.status == 3);
    CHECK(has(ended.output, "sudo systemctl start lulld"));
  }
}

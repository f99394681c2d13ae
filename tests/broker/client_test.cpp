// A real lulld and clients over its real sockets.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <memory>
#include <vector>

#include "broker/units.h"
#include "lulld.h"

using namespace lull;

namespace {

const std::string quick =
    "host_memory = \"1GiB\"\nhost_memory_keep_free = \"0\"\n[policy]\nkeep_alive = \"0\"\nloading_quiet = "
    "\"100ms\"\nloading_linger = \"0\"\nmin_hold = \"50ms\"\n";

// A process with a client of its own that does nothing more.
struct OtherProcess {
  int pid = 0;
  OtherProcess(const Lulld& lulld, Class klass, std::uint64_t needed) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid = ::fork();
    if (pid == 0) {
      FakeShim shim(lulld, klass, "other");
      if (shim.hello()) shim.attach(needed, needed);
      (void)!::write(ready[1], "x", 1);
      for (;;) ::pause();
    }
    char c;
    (void)::close(ready[1]);
    REQUIRE(::read(ready[0], &c, 1) == 1);
    (void)::close(ready[0]);
  }
  void kill() {
    if (pid == 0) return;
    (void)::kill(pid, SIGKILL);
    (void)::waitpid(std::exchange(pid, 0), nullptr, 0);
  }
  ~OtherProcess() { kill(); }
};

}  // namespace

TEST_CASE("a client is welcomed, attached and given the card") {
  Lulld lulld(quick);
  FakeShim trainer(lulld, Class::training, "job");
  REQUIRE(trainer.hello());
  CHECK(trainer.gate() == GateState::unmanaged);
  trainer.attach(600 * mib);
  trainer.busy = true;
  CHECK(trainer.acts_until([&] { return trainer.gate() == GateState::open && trainer.said().submissions > 0; }));
  const auto seen = lulld.client(trainer.number);
  CHECK(seen["tenant"] == "job");
  CHECK(seen["class"] == "training");
  CHECK(seen["pid"] == ::getpid());
  CHECK(seen["needed"] == 600 * mib);
  CHECK(trainer.acts_until([&] {
    const auto lease = lulld.gpu()["lease"];
    return lease.is_object() && lease["client"] == trainer.number;
  }));
}

TEST_CASE("a service's submission takes the card from a trainer, only the deficit moves, and it goes back") {
  Lulld lulld(quick);
  FakeShim trainer(lulld, Class::training, "job"), service(lulld, Class::inference, "faces");
  REQUIRE(trainer.hello());
  trainer.attach(700 * mib);
  trainer.busy = true;
  REQUIRE(trainer.acts_until([&] { return trainer.said().submissions > 0; }));
  REQUIRE(service.hello());
  service.attach(500 * mib);
  service.busy = true;
  const auto both = [&] { trainer.act(), service.act(); };
  REQUIRE(eventually([&] {
    both();
    return service.said().submissions > 0;
  }));
  CHECK(trainer.gate() == GateState::closed);
  CHECK(service.said().resident == 500 * mib);
  // 1024 - 32 headroom - 2 * 32 contexts leaves 928: 272 of 1200 have to go.
  CHECK(trainer.said().resident >= 928 * mib - 500 * mib - 16 * mib - 256 * mib);
  CHECK(trainer.said().resident <= 928 * mib - 500 * mib);
  const auto stopped_at = trainer.said().submissions.load();
  service.busy = false;
  REQUIRE(eventually([&] {
    both();
    return trainer.said().submissions > stopped_at;
  }));
  CHECK(trainer.said().resident == 700 * mib);
  const auto gpu = lulld.gpu();
  CHECK(gpu["preemptions"] == 1);
  CHECK(gpu["evicted_bytes"] == trainer.said().evicted_bytes + service.said().evicted_bytes);
}

TEST_CASE("a client gets memory to evict to, as much as it needs, ahead of need") {
  Lulld lulld(quick);
  FakeShim trainer(lulld, Class::training);
  REQUIRE(trainer.hello());
  trainer.attach(100 * mib);
  CHECK(trainer.acts_until([&] { return trainer.arena_bytes >= 100 * mib; }));
  CHECK(eventually([&] { return lulld.client(trainer.number)["backing"] == trainer.arena_bytes; }));
  CHECK(lulld.status()["host"]["held"] == trainer.arena_bytes);
}

TEST_CASE("memory to evict to goes back when the program has had no use for it for a while") {
  Lulld lulld("backing_linger = \"200ms\"\n" + quick);
  FakeShim trainer(lulld, Class::training);
  REQUIRE(trainer.hello());
  trainer.attach(100 * mib);
  REQUIRE(trainer.acts_until([&] { return trainer.arena_bytes >= 100 * mib; }));
  trainer.said().needed = 400 * mib;
  REQUIRE(trainer.acts_until([&] { return trainer.arena_bytes >= 400 * mib; }));
  const auto before = trainer.arena_bytes;
  REQUIRE(trainer.acts_until([&] { return trainer.backing_limit() == 416 * mib; }));
  CHECK(trainer.arenas.size() > 1);
  trainer.said().needed = 100 * mib;
  REQUIRE(trainer.acts_until([&] { return trainer.backing_limit() == 116 * mib; }));
  std::vector<Fd> kept;
  for (const auto& arena : trainer.arenas) kept.emplace_back(::dup(arena.fd.get()));
  trainer.return_down_to(*trainer.backing_limit());
  CHECK(trainer.arena_bytes < before);
  CHECK(trainer.arena_bytes >= 116 * mib);
  CHECK(eventually([&] { return lulld.status()["host"]["held"] == trainer.arena_bytes; }));
  const auto allocated = [&] {
    std::uint64_t sum = 0;
    for (const auto& fd : kept) {
      struct stat s {};
      REQUIRE(::fstat(fd.get(), &s) == 0);
      sum += static_cast<std::uint64_t>(s.st_blocks) * 512;
    }
    return sum;
  };
  CHECK(eventually([&] { return allocated() == trainer.arena_bytes; }));  // also where somebody still has a descriptor
  trainer.said().needed = 400 * mib;
  CHECK(trainer.acts_until([&] { return trainer.arena_bytes >= 400 * mib; }));
  CHECK(trainer.receive());
}

TEST_CASE("when the machine runs short of memory, what is not necessary is asked back at once") {
  Lulld lulld("backing_linger = \"1h\"\n" + quick);
  FakeShim trainer(lulld, Class::training);
  REQUIRE(trainer.hello());
  trainer.attach(300 * mib);
  REQUIRE(trainer.acts_until([&] { return trainer.said().resident == 300 * mib && trainer.arena_bytes >= 300 * mib; }));
  REQUIRE(trainer.backing_limit() == 316 * mib);
  lulld.write_config("backing_linger = \"1h\"\nhost_memory = \"1GiB\"\nhost_memory_keep_free = \"60TiB\"\n");
  lulld.kill(SIGHUP);
  REQUIRE(trainer.acts_until([&] { return trainer.backing_limit() == 0u; }));  // all of it is on the card
  trainer.return_down_to(0);
  CHECK(eventually([&] { return lulld.status()["host"]["held"] == 0; }));
  CHECK(lulld.status()["host"]["pressure"] == "severe");
  // Newcomers are refused what has no place: 1024 - 32 - 2 * 32 - 300.
  FakeShim service(lulld, Class::inference);  // only now: one that connects has to say hello soon
  REQUIRE(service.hello());
  service.attach(0);
  CHECK(service.acts_until([&] { return parse_limit(service.asked().admit_plus_1.load()) == 628 * mib; }));
  CHECK(lulld.log().find("host memory pressure=severe") != std::string::npos);
  CHECK(trainer.receive());
}

TEST_CASE("a client of the protocol's first minor version is served as before") {
  Lulld lulld("backing_linger = \"100ms\"\n" + quick);
  FakeShim old(lulld, Class::training);
  REQUIRE(old.hello(protocol_major, 0));
  old.attach(100 * mib);
  REQUIRE(old.acts_until([&] { return old.arena_bytes >= 100 * mib; }));
  CHECK(old.receive());
  CHECK(lulld.client(old.number)["backing"] == old.arena_bytes);
}

TEST_CASE("making up returns gains nothing") {
  Lulld lulld(quick);
  FakeShim liar(lulld, Class::training);
  REQUIRE(liar.hello());
  liar.attach(100 * mib);
  REQUIRE(liar.acts_until([&] { return liar.arena_bytes >= 100 * mib; }));
  auto returned = make_message<Returned>();
  returned.number = liar.arenas[0].number + 12345;
  returned.bytes = liar.arenas[0].bytes;
  liar.send(std::as_bytes(std::span(&returned, 1)));
  returned.number = liar.arenas[0].number;
  returned.bytes = 2 * mib;
  liar.send(std::as_bytes(std::span(&returned, 1)));
  liar.ring();
  CHECK(lulld.status()["host"]["held"] == liar.arena_bytes);
  SUBCASE("not even many of them") {
    for (int i = 0; i < 300; ++i) liar.send(std::as_bytes(std::span(&returned, 1)));
    CHECK(liar.hung_up());
    CHECK(eventually([&] { return lulld.status()["dropped"] == 1; }));
  }
}

TEST_CASE("memory that has no place to be evicted to is not admitted") {
  Lulld lulld("host_memory = \"100MiB\"\nhost_memory_keep_free = \"0\"\n");
  FakeShim first(lulld, Class::training), second(lulld, Class::training);
  REQUIRE(first.hello());
  first.attach(700 * mib);
  REQUIRE(first.acts_until([&] { return first.said().resident == 700 * mib; }));
  REQUIRE(second.hello());
  second.attach(0);
  // What fits beside the first needs no place: 1024 - 32 - 64 - 700.
  CHECK(second.acts_until([&] { return parse_limit(second.asked().admit_plus_1.load()) == 228 * mib; }));
}

TEST_CASE("another version is refused with a sentence") {
  Lulld lulld;
  FakeShim shim(lulld, Class::training);
  CHECK_FALSE(shim.hello(protocol_major + 1));
  CHECK(shim.refused.find("install the same version of both") != std::string::npos);
  CHECK(shim.hung_up());
  FakeShim newer(lulld, Class::training);
  CHECK(newer.hello(protocol_major, protocol_minor + 7));
}

TEST_CASE("who breaks the protocol is dropped and counted, and nobody else notices") {
  Lulld lulld(quick);
  FakeShim honest(lulld, Class::training), hostile(lulld, Class::training);
  REQUIRE(honest.hello());
  honest.attach(100 * mib);
  honest.busy = true;
  REQUIRE(honest.acts_until([&] { return honest.said().submissions > 0; }));
  SUBCASE("a page scribbled on") {
    REQUIRE(hostile.hello());
    hostile.attach(0);
    std::memset(hostile.up.as<char>(), 0xff, page_bytes);
    hostile.ring();
  }
  SUBCASE("a lying phase, without a doorbell") {
    REQUIRE(hostile.hello());
    hostile.attach(0);
    REQUIRE(hostile.acts_until([&] { return !lulld.client(hostile.number).is_null(); }));
    hostile.said().phase = pack(PhaseWord{12345, Phase::drained});
  }
  SUBCASE("bytes that are no message") {
    const std::byte noise[40] = {std::byte{9}};
    hostile.send(noise);
  }
  SUBCASE("attach before hello") {
    const auto attach = make_message<Attach>();
    hostile.send(std::as_bytes(std::span(&attach, 1)));
  }
  SUBCASE("hello twice") {
    REQUIRE(hostile.hello());
    const auto again = make_message<Hello>();
    hostile.send(std::as_bytes(std::span(&again, 1)));
  }
  SUBCASE("the same GPU twice") {
    REQUIRE(hostile.hello());
    hostile.attach(0);
    hostile.attach(0);
  }
  SUBCASE("a flood of messages") {
    REQUIRE(hostile.hello());
    struct {
      Header header{77, sizeof(Header), 0};
    } unknown;
    for (int i = 0; i < 300; ++i) hostile.send(std::as_bytes(std::span(&unknown, 1)));
  }
  CHECK(hostile.hung_up());
  CHECK(eventually([&] { return lulld.status()["dropped"] == 1; }));
  CHECK(lulld.log().find(fmt::format("<4>drop client={}", hostile.number ? hostile.number : 2)) != std::string::npos);
  const auto before = honest.said().submissions.load();
  CHECK(honest.acts_until([&] { return honest.gate() == GateState::open && honest.said().submissions > before + 3; }));
  CHECK(honest.receive());
}

TEST_CASE("a flood of rings changes nothing for the others") {
  Lulld lulld(quick);
  FakeShim loud(lulld, Class::training), quiet(lulld, Class::training);
  REQUIRE(loud.hello());
  loud.attach(0);
  REQUIRE(quiet.hello());
  quiet.attach(10 * mib);
  quiet.busy = true;
  CHECK(eventually([&] {
    for (int i = 0; i < 2000; ++i) loud.ring();
    quiet.act();
    return quiet.said().submissions > 0;
  }));
  CHECK(loud.receive());
  CHECK(lulld.status()["dropped"] == 0);
}

TEST_CASE("a user may have only so many clients") {
  Lulld lulld("[limits]\nclients_per_uid = 2\n");
  FakeShim one(lulld, Class::training), two(lulld, Class::training);
  REQUIRE(one.hello());
  REQUIRE(two.hello());
  FakeShim three(lulld, Class::training);
  CHECK_FALSE(three.hello());
  CHECK(three.refused.find("limits.clients_per_uid") != std::string::npos);
}

TEST_CASE("a user's reserves take a part of the card at most, and who waits for one gets it later") {
  Lulld lulld("[limits]\nreserve_per_uid = \"96MiB\"\n");  // 32 MiB each
  std::vector<std::unique_ptr<FakeShim>> shims;
  for (int i = 0; i < 4; ++i) {
    auto& shim = *shims.emplace_back(std::make_unique<FakeShim>(lulld, Class::training));
    REQUIRE(shim.hello());
    shim.attach(mib);
    if (i < 3) REQUIRE(eventually([&] { return lulld.client(shim.number).is_object(); }));
  }
  auto& four = *shims.back();
  REQUIRE(eventually([&] { return lulld.log().find("limits.reserve_per_uid") != std::string::npos; }));
  CHECK(four.gate() == GateState::unmanaged);
  CHECK(lulld.gpu()["clients"].size() == 3);
  shims.erase(shims.begin());
  CHECK(eventually([&] { return lulld.client(four.number).is_object(); }));
  CHECK(lulld.status()["dropped"] == 0);
}

TEST_CASE("a GPU the broker does not share stays unmanaged") {
  Lulld lulld;
  FakeShim shim(lulld, Class::training);
  REQUIRE(shim.hello());
  shim.attach(0, 0, "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff");
  CHECK(eventually([&] { return lulld.log().find("is not among this broker's GPUs") != std::string::npos; }));
  CHECK(shim.gate() == GateState::unmanaged);
  CHECK(shim.receive());
}

TEST_CASE("when the holder is killed the card passes on") {
  Lulld lulld(quick);
  OtherProcess holder(lulld, Class::training, 800 * mib);
  REQUIRE(eventually([&] { return lulld.gpu()["clients"].size() == 1; }));
  FakeShim next(lulld, Class::training);
  REQUIRE(next.hello());
  next.attach(800 * mib);
  next.busy = true;
  CHECK_FALSE(next.said().submissions > 0);
  holder.kill();
  CHECK(next.acts_until([&] { return next.said().submissions > 0; }));
  const auto gpu = lulld.gpu();
  CHECK(gpu["foreign"] == 0);
  CHECK(gpu["clients"].size() == 1);
}

TEST_CASE("the class is the socket that was reached") {
  Lulld lulld;
  for (const Class klass : all_classes) {
    FakeShim shim(lulld, klass);
    REQUIRE(shim.hello());
    shim.attach(0);
    CHECK(eventually([&] { return lulld.client(shim.number)["class"] == name_of(klass); }));
  }
}

TEST_CASE("a tenant without a name of its own is named by what it runs in") {
  Lulld lulld;
  FakeShim shim(lulld, Class::training);
  REQUIRE(shim.hello());
  shim.attach(0);
  CHECK(eventually([&] { return !lulld.client(shim.number).is_null(); }));
  CHECK(lulld.client(shim.number)["tenant"].get<std::string>().size() > 0);
}

TEST_CASE("directories have the modes that are the access control, and say what they are") {
  Lulld lulld;
  const auto mode = [&](const std::string& path) {
    struct stat s {};
    REQUIRE(::stat((lulld.run_dir() + path).c_str(), &s) == 0);
    return s.st_mode & 0777;
  };
  CHECK(mode("") == 0755);
  CHECK(mode("/training") == 0755);
  CHECK((mode("/inference") & 07) == 0);
  CHECK((mode("/interactive") & 07) == 0);
  CHECK((mode("/control") & 07) == 0);
  for (const char* klass : {"/training", "/interactive", "/inference"}) {
    CHECK(mode(std::string(klass) + "/socket") == 0755);
    CHECK(mode(std::string(klass) + "/socket/broker") == 0666);
    CHECK(run_program({"/bin/cat", lulld.run_dir() + klass + "/socket/class"}).output == std::string(klass + 1) + "\n");
    CHECK(run_program({"/bin/cat", lulld.run_dir() + klass + "/socket/gpus"}).output ==
          fmt::format("{} {} {}\n", test_uuid, 928 * mib, 16 * mib));
  }
}

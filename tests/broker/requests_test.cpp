// What requests are told apart by, what the configuration says of them, and words from strangers.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "bpf/head.h"
#include "broker/gpu_watch.h"
#include "broker/request_kinds.h"
#include "broker/service_rules.h"
#include "broker/soon.h"

using namespace lull;
using policy::ms, policy::second, policy::Time;

namespace {

const TenantKey faces{0, Class::inference, "faces"}, voices{0, Class::inference, "voices"};

RequestKind post(std::string_view target) {
  RequestLook look{LULL_STREAM_HTTP1, LULL_METHOD_POST, 100, {}};
  std::copy_n(target.begin(), std::min(target.size(), look.path.size() - 1), look.path.begin());
  return kind_of(8000, look);
}

}  // namespace

TEST_CASE("a kind is port, method and two segments, without numbers and queries") {
  CHECK(show(post("/v1/chat HTTP/1.1\r\nHost")) == "POST /v1/chat on port 8000");
  CHECK(post("/v1/chat/completions?x=1 HTTP") == post("/v1/chat/other HTTP"));
  CHECK(post("/jobs/4711 ") == post("/jobs/4712 "));
  CHECK(post("/jobs/0b39a1f7-22 ") == post("/jobs/991f-2209-1 "));
  CHECK(post("/infer ") != post("/other "));
  CHECK(show(post("http://x/ ")) == "POST * on port 8000");
  CHECK(show(kind_of(6379, {LULL_STREAM_OUTGOING, 0, 50, {}})) == "work from port 6379");
}

TEST_CASE("what cannot be read is told apart by its size: finely where probes are, coarsely where uploads are") {
  const auto tls = [](std::uint32_t bytes) { return kind_of(443, {LULL_STREAM_TLS, 0, bytes, {}}); };
  CHECK(show(tls(517)) == "TLS on port 443, 512 to 575 bytes");
  CHECK(tls(130) == tls(190));
  CHECK(tls(130) != tls(192));
  CHECK(show(tls(0)) == "TLS on port 443, 0 to 63 bytes");
  CHECK(show(tls(1023)) == "TLS on port 443, 960 to 1023 bytes");
  CHECK(show(tls(1024)) == "TLS on port 443, 1 to 2 KiB");
  CHECK(tls(40'000) == tls(65'535));
  CHECK(show(tls(~0u)) == "TLS on port 443, 2097152 to 4194304 KiB");
  CHECK(kind_of(6379, {LULL_STREAM_OUTGOING, 0, 50, {}}) == kind_of(6379, {LULL_STREAM_OUTGOING, 0, 500, {}}));
  CHECK(post("/infer ").size == 0);
}

TEST_CASE("a kind is proven by work, and disproved by requests in a row that led to none") {
  KindBook book;
  const KindId infer = book.id_of(faces, post("/infer ")), probe = book.id_of(faces, post("/probe "));
  CHECK(infer != probe);
  CHECK(book.id_of(faces, post("/infer ")) == infer);
  CHECK(book.id_of(voices, post("/infer ")) != infer);
  Time now = 1000 * second;
  const auto moves = [&](KindId id) { return book.arrived(id, ++now); };
  CHECK_FALSE(moves(infer));
  book.outcome(infer, now, true);
  CHECK(moves(infer));
  CHECK(book.any_proven(faces));
  CHECK_FALSE(book.any_proven(voices));
  for (int i = 0; i < 7; ++i) book.outcome(infer, now, false);
  CHECK(moves(infer));
  book.outcome(infer, now, false);
  CHECK_FALSE(moves(infer));
  CHECK_FALSE(moves(0));
}

// A health check every 10 s, and requests that look like it, encrypted.
TEST_CASE("what comes by the clock and leads to nothing moves no memory, and disproves nothing") {
  KindBook book;
  const KindId id = book.id_of(faces, kind_of(443, {LULL_STREAM_TLS, 0, 517, {}}));
  const Time start = 1000 * second;
  const auto probe = [&](int n) {
    const Time at = start + static_cast<Time>(n) * 10 * second + static_cast<Time>(n * 7919 % 100) * ms;
    const bool moved = book.arrived(id, at);
    book.outcome(id, at, false);
    return moved;
  };
  const auto request = [&](Time at) {
    const bool moved = book.arrived(id, at);
    book.outcome(id, at, true);
    return moved;
  };
  CHECK_FALSE(request(start - 5 * second));
  int moved = 0;
  for (int n = 0; n < 3; ++n) moved += probe(n);
  CHECK(moved == 3);  // a request may have come: nothing tells it from one yet
  for (int n = 3; n < 40; ++n) {
    CHECK_FALSE_MESSAGE(probe(n), n);
    if (n % 5 == 0) CHECK_MESSAGE(request(start + static_cast<Time>(n) * 10 * second + 4 * second), n);
  }
  CHECK(request(start + 400 * second + 4 * second));  // after any number of them
}

TEST_CASE("a client that asks by the clock and is served goes on being served early") {
  KindBook book;
  const KindId id = book.id_of(faces, kind_of(443, {LULL_STREAM_TLS, 0, 517, {}}));
  for (int n = 0; n < 20; ++n) {
    const Time at = 1000 * second + static_cast<Time>(n) * 60 * second;
    CHECK(book.arrived(id, at) == (n > 0));
    book.outcome(id, at, true);
  }
}

TEST_CASE("a burst is no rhythm") {
  KindBook book;
  const KindId id = book.id_of(faces, kind_of(443, {LULL_STREAM_TLS, 0, 517, {}}));
  (void)book.arrived(id, 1000 * second);
  book.outcome(id, 1000 * second, true);
  for (int n = 1; n < 30; ++n) CHECK(book.arrived(id, 1001 * second + static_cast<Time>(n) * 20 * ms));
}

TEST_CASE("whoever invents paths pushes nobody else out") {
  KindBook book;
  const std::string letters = "abcdefghijklmnopqrst";
  for (const char a : letters)
    for (const char b : letters) (void)book.id_of(faces, post(std::string("/") + a + b + " "));
  CHECK(book.id_of(faces, post("/another ")) == 0);
  CHECK(book.id_of(voices, post("/infer ")) != 0);
}

TEST_CASE("rules for requests are read, or refused") {
  const auto stats = parse_path_rule("GET /stats*");
  REQUIRE(stats);
  CHECK(stats->method == LULL_METHOD_GET);
  CHECK(stats->text == "/stats");
  CHECK_FALSE(stats->whole);
  CHECK(stats->ignored);
  const auto counts = parse_path_rule("!/ping");
  REQUIRE(counts);
  CHECK(counts->method == LULL_METHOD_NONE);
  CHECK(counts->whole);
  CHECK_FALSE(counts->ignored);
  for (const auto& bad : {std::string("stats"), std::string("get /x"), std::string(""), std::string("GET  /x"),
                          "/" + std::string(60, 'x')})
    CHECK_FALSE_MESSAGE(parse_path_rule(bad), bad);
  CHECK(parse_source("10.0.0.0/8")->bits == 104);
  CHECK(parse_source("fd00::1")->bits == 128);
  for (const char* bad : {"10.0.0.0/33", "10.0.0", "x", "", "fd00::/129", "10.0.0.0/"})
    CHECK_FALSE_MESSAGE(parse_source(bad), bad);
  CHECK(parse_work_port("redis:6379") == 6379);
  CHECK(parse_work_port("6379") == 6379);
  CHECK_FALSE(parse_work_port("redis"));
  CHECK_FALSE(parse_port("0"));
  CHECK_FALSE(parse_port("65536"));
  for (const auto& text : usual_probes()) CHECK_MESSAGE(parse_path_rule(text), text);
}

TEST_CASE("a word that a request will come is a name, a time, both or none") {
  CHECK(parse_soon("")->tenant.empty());
  CHECK(parse_soon("\n")->lasts == usual_wake);
  CHECK(parse_soon("5s")->lasts == 5 * policy::second);
  CHECK(parse_soon("5s")->tenant.empty());
  CHECK(parse_soon("faces 5s\n")->tenant == "faces");
  CHECK(parse_soon("my faces 5s")->tenant == "my faces");
  CHECK(parse_soon("faces")->tenant == "faces");
  CHECK(parse_soon("faces never")->lasts == longest_wake);
  CHECK_FALSE(parse_soon("faces\x01 5s"));
  CHECK_FALSE(parse_soon(std::string(1000, 'x')));
}

TEST_CASE("devices of the driver are found by name, and a control node makes no holder") {
  const auto devices = gpu_devices(
      "Character devices:\n  1 mem\n195 nvidia\n510 nvidia-uvm\n509 nvidia-caps\n\nBlock devices:\n195 nvidia\n");
  REQUIRE(devices.size() == 2);
  CHECK(devices[0].major == 195);
  CHECK(devices[1].major == 510);
  GpuWatch watch;
  const auto self = static_cast<std::uint32_t>(::getpid());
  CHECK(watch.opened({self, 195, 255, false, 0, "nvidia-smi", 1}) == nullptr);
  const auto* holder = watch.opened({self, 195, 0, false, 0, "", 0});
  REQUIRE(holder);
  CHECK(holder->comm == "broker-test");
  CHECK_FALSE(holder->shim);
  CHECK(watch.opened({self, 195, 1, false, 0, "", 0}) == nullptr);  // told once
  watch.forget_dead([](const Holder&) { FAIL("it lives"); });
  CHECK(watch.holders().size() == 1);
}

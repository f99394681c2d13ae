// What is no request: probes, small ones, senders; and output that is no answer.
#include <cstring>

#include "bpf/head.h"
#include "tests/bpf/watching.h"

using namespace lull;
using namespace lull::test;

namespace {

struct Filtered : Watching {
  explicit Filtered(const Filter& filter) {
    REQUIRE(arrivals->watch(service, ::getpid()));
    arrivals->set_filter(service, filter);
  }
  Server server;
};

Filter paths(std::vector<Filter::Path> list) { return {0, std::move(list), {}}; }

std::string get(const std::string& target) { return "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"; }
std::string post(const std::string& target) { return "POST " + target + " HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"; }
constexpr const char* fine = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

}  // namespace

TEST_CASE("a probe named by method and beginning of its path is ignored, other requests are not") {
  Filtered w(paths({{LULL_METHOD_GET, "/health", false, true},
                    {LULL_METHOD_GET, "/healthcare/", false, false},
                    {LULL_METHOD_NONE, "/ping", true, true}}));
  const Connection c(w.server);
  std::uint64_t arrivals = 0, ignored = 0;
  const auto expect = [&](const std::string& request, bool counts) {
    CAPTURE(request);
    ++(counts ? arrivals : ignored);
    c.ask(request);
    CHECK(w.counters().arrivals == arrivals);
    CHECK(w.counters().ignored == ignored);
    CHECK(w.counters().waiting == (counts ? 1 : 0));
    c.answer(fine);
    CHECK(w.counters().waiting == 0);
  };
  expect(get("/health"), false);
  expect(get("/healthz?verbose"), false);
  expect(get("/healthcare/ask"), true);
  expect(post("/health"), true);
  expect(get("/ping"), false);
  expect(get("/ping?a=b"), false);
  expect(post("/ping"), false);
  expect(get("/pings"), true);
  expect(get("/"), true);
  expect(get("/infer/with/a/path/much/longer/than/what/is/read/of/it"), true);
  w.drain();
  CHECK(w.count(EventKind::arrival) == static_cast<long>(arrivals));
}

TEST_CASE("an arrival says what was asked for") {
  Filtered w({});
  const Connection c(w.server);
  c.ask(post("/v1/chat"));
  REQUIRE(w.comes(EventKind::arrival));
  const Event& event = w.events.back();
  CHECK(event.look.stream == LULL_STREAM_HTTP1);
  CHECK(event.look.method == LULL_METHOD_POST);
  CHECK(std::string(event.look.path.data()).substr(0, 9) == "/v1/chat ");
  CHECK(event.look.bytes == post("/v1/chat").size());
  CHECK(event.port == w.server.port);
}

TEST_CASE("a request below the least size is ignored until enough of it has come") {
  Filtered w({1000, {}, {}});
  const Connection c(w.server);
  c.ask(get("/tiny"));
  c.answer(fine);
  CHECK(w.counters().arrivals == 0);
  c.ask(post("/upload"));
  CHECK(w.counters().arrivals == 0);
  c.ask(1000);
  CHECK(w.counters().arrivals == 1);
  CHECK(w.counters().waiting == 1);
  c.answer(fine);
  CHECK(w.counters().waiting == 0);
  c.ask(post("/upload") + std::string(2000, 'x'));
  CHECK(w.counters().arrivals == 2);
}

TEST_CASE("what comes from an ignored sender is ignored, by network, IPv4 and IPv6") {
  Filter filter;
  Filter::Source local{};
  local.address[10] = local.address[11] = 0xff;
  local.address[12] = 127;
  local.bits = 96 + 8;
  filter.sources = {local};
  Filtered w(filter);
  const Connection c(w.server);
  c.ask(post("/infer"));
  CHECK(w.counters().arrivals == 0);
  CHECK(w.counters().ignored == 1);
  CHECK(w.count(EventKind::syn) == 0);
  const Server v6(Ip::v6);
  const Connection other(v6);
  other.ask(post("/infer"));
  CHECK(w.counters().arrivals == 1);
}

TEST_CASE("a filter that is replaced leaves nothing of the earlier one") {
  Filtered w(paths({{LULL_METHOD_GET, "/a", false, true}}));
  w.arrivals->set_filter(w.service, paths({{LULL_METHOD_GET, "/b", false, true}}));
  const Connection c(w.server);
  c.ask(get("/a"));
  CHECK(w.counters().arrivals == 1);
  c.answer(fine);
  c.ask(get("/b"));
  CHECK(w.counters().arrivals == 1);
  CHECK(w.counters().ignored == 1);
}

TEST_CASE("100 Continue is no answer, and a body that comes after an early answer is no request") {
  Filtered w({});
  const Connection c(w.server);
  c.ask("POST /infer HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 500000\r\n\r\n");
  c.answer("HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(w.counters().waiting == 1);
  c.ask(400'000);
  CHECK(w.counters().waiting == 1);
  c.answer("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
  CHECK(w.counters().waiting == 0);
  c.ask(100'000);
  CHECK(w.counters().arrivals == 1);
  CHECK(w.counters().waiting == 0);
  c.ask(get("/next"));
  CHECK(w.counters().arrivals == 2);
}

TEST_CASE("a long answer in many pieces ends the waiting once, and requests that come meanwhile count") {
  Filtered w({});
  const Connection c(w.server);
  c.ask(get("/events"));
  c.answer("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
  CHECK(w.counters().waiting == 0);
  const auto first = w.counters().last_out_ns;
  for (int i = 0; i < 5; ++i) c.answer("data: x\n\n");
  CHECK(w.counters().waiting == 0);
  CHECK(w.counters().completions == 0);
  CHECK(w.counters().last_out_ns > first);  // it is seen to go on
  c.ask(get("/pipelined"));
  CHECK(w.counters().arrivals == 2);
}

TEST_CASE("requests sent before the answer to the first are one that waits, and nothing is left of them") {
  Filtered w({});
  const Connection c(w.server);
  c.ask(get("/1") + get("/2"));
  c.ask(get("/3"));
  CHECK(w.counters().waiting == 1);
  for (int i = 0; i < 3; ++i) c.answer(fine);
  CHECK(w.counters().waiting == 0);
  CHECK(w.counters().arrivals == 1);
}

TEST_CASE("HTTP/2 in the clear: settings and pings are no requests and no answers") {
  Filtered w({});
  const Connection c(w.server);
  const auto frame = [](char kind, std::string body) {
    return std::string{0, 0, static_cast<char>(body.size()), kind, 0, 0, 0, 0, 1} + body;
  };
  c.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, ""));
  CHECK(w.counters().arrivals == 1);
  c.answer(frame(4, ""));
  c.ask(frame(4, ""));
  CHECK(w.counters().waiting == 1);
  c.ask(frame(1, "headers"));
  CHECK(w.counters().arrivals == 1);
  c.answer(frame(1, "headers") + frame(0, "data"));
  CHECK(w.counters().waiting == 0);
  c.ask(frame(8, "more"));
  c.ask(frame(6, "12345678"));
  CHECK(w.counters().arrivals == 1);
  c.ask(frame(1, "headers"));
  CHECK(w.counters().arrivals == 2);
}

// The life of requests and connections: what counts, what does not, and that the count of waiting ones finds back to
// zero however they end.
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include "tests/bpf/repeat.h"
#include "tests/bpf/watching.h"

using namespace lull;
using namespace lull::test;

namespace {

struct Watched : Watching {
  Watched() { REQUIRE(arrivals->watch(service, ::getpid())); }
  Server server;  // older than the watch: its port is found by the inventory
};

void set_tcp(const Handle& socket, int option, int value) {
  REQUIRE(::setsockopt(socket.get(), IPPROTO_TCP, option, &value, sizeof(value)) == 0);
}

tcp_info info_of(const Handle& socket) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  REQUIRE(::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
  return info;
}

}  // namespace

TEST_CASE("each request of a kept-alive connection counts once, however many pieces it comes in") {
  Watched w;
  const Connection c(w.server);
  for (std::uint64_t request = 1; request <= 3; ++request) {
    for (int piece = 0; piece < 4; ++piece) c.ask(100);
    c.ask(300'000);
    CHECK(w.counters().arrivals == request);
    CHECK(w.counters().waiting == 1);
    CHECK(w.counters().completions == request - 1);
    for (int piece = 0; piece < 4; ++piece) c.answer(100);
    c.answer(300'000);
    CHECK(w.waiting_becomes(0));
  }
  CHECK(w.counters().arrivals == 3);
}

TEST_CASE("closing an answered connection completes its last request") {
  Watched w;
  {
    const Connection c(w.server);
    c.ask();
    c.answer();
    CHECK(w.counters().completions == 0);
  }
  CHECK(w.completions_become(1));
}

TEST_CASE("every request makes an event, only the last one's end does") {
  Watched w;
  const Connection a(w.server), b(w.server);
  a.ask();
  b.ask();
  CHECK(w.counters().waiting == 2);
  a.answer();
  b.answer();
  REQUIRE(w.waiting_becomes(0));
  CHECK(w.count(EventKind::arrival) == 2);
  CHECK(w.count(EventKind::idle) == 1);
  a.ask();
  CHECK(w.comes(EventKind::arrival, 3));
}

TEST_CASE("a request that its client resets stops waiting and completes nothing") {
  Watched w;
  Connection c(w.server);
  c.ask();
  REQUIRE(w.counters().waiting == 1);
  reset(std::move(c.client));
  CHECK(w.waiting_becomes(0));
  CHECK(w.counters().completions == 0);
}

TEST_CASE("a client that has said all and shuts its side still waits for the answer") {
  Watched w;
  {
    const Connection c(w.server);
    c.ask();
    shut_writing(c.client);
    REQUIRE(eventually([&] { return info_of(c.service).tcpi_state == BPF_TCP_CLOSE_WAIT; }));
    CHECK(w.counters().waiting == 1);
    c.answer();
    CHECK(w.waiting_becomes(0));
  }
  CHECK(w.completions_become(1));
}

TEST_CASE("a service that closes without an answer has nobody waiting, though the client stays") {
  Watched w;
  Connection c(w.server);
  c.ask();
  c.service = Handle();
  CHECK(w.waiting_becomes(0));
  CHECK(w.counters().completions == 0);
}

TEST_CASE("a service that shuts its side without an answer has nobody waiting, though both stay") {
  Watched w;
  const Connection c(w.server);
  c.ask();
  REQUIRE(w.counters().waiting == 1);
  shut_writing(c.service);
  CHECK(w.waiting_becomes(0));
}

TEST_CASE("a killed service has nobody waiting, and its exit is announced, but not that of a thread") {
  Watching w;
  Channel port, asked;
  Process service([&] {
    const Server server;
    port.put(server.port);
    const Handle c = accept_from(server);
    std::thread([] {}).join();
    receive_bytes(c);
    asked.put(1);
    for (;;) ::pause();
  });
  Server far;  // only its address is used
  far.port = static_cast<std::uint16_t>(port.get());
  REQUIRE(w.arrivals->watch(w.service, service.pid()));
  const auto pid = static_cast<std::uint32_t>(service.pid());
  const Handle client = connect_to(far);
  send_bytes(client);
  asked.get();
  REQUIRE(w.counters().waiting == 1);
  CHECK(w.count(EventKind::exit) == 0);
  service.kill();
  CHECK(w.waiting_becomes(0));
  REQUIRE(w.comes(EventKind::exit));
  CHECK(w.count(EventKind::exit) == 1);
  for (const Event& event : w.events) {
    if (event.kind != EventKind::exit) continue;
    CHECK(event.tgid == pid);
    CHECK(event.service == w.service);
  }
}

TEST_CASE("acknowledgements and TCP's keep-alive probes are no requests") {
  Watched w;
  const Connection c(w.server);
  c.answer(1'000'000);  // unasked: the client only acknowledges
  set_tcp(c.client, TCP_KEEPIDLE, 1);
  set_tcp(c.client, TCP_KEEPINTVL, 1);
  const int on = 1;
  REQUIRE(::setsockopt(c.client.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
  // A probe has been answered when the last acknowledgement, which ages while nothing moves, is young again.
  std::uint32_t oldest_ms = 0;
  REQUIRE(eventually([&] {
    const std::uint32_t age_ms = info_of(c.client).tcpi_last_ack_recv;
    oldest_ms = std::max(oldest_ms, age_ms);
    return oldest_ms > 500 && age_ms < 100;
  }));
  CHECK(w.counters().arrivals == 0);
  c.ask();
  CHECK(w.counters().arrivals == 1);
}

TEST_CASE("a segment that comes twice, the second time after the answer, is no new request") {
  Watched w;
  const Connection c(w.server);
  c.ask(10);
  c.answer();
  Segment::last_byte(c.client).send();
  // The service's side reports the repetition (DSACK) to the client's: then the segment is past the hook.
  REQUIRE(eventually([&] { return info_of(c.client).tcpi_dsack_dups == 1; }));
  CHECK(w.counters().arrivals == 1);
  CHECK(w.counters().waiting == 0);
  c.ask();
  CHECK(w.counters().arrivals == 2);
}

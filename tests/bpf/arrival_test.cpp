// How a service's sockets are found, and what is reported of a plain request.
#include <poll.h>
#include <time.h>

#include "tests/bpf/watching.h"

using namespace lull;
using namespace lull::test;

namespace {

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

std::uint64_t now_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

TEST_CASE("a request is seen on a socket that listens after its process is watched") {
  Watching w;
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  for (const Ip ip : {Ip::v4, Ip::v6, Ip::v4_to_dual_stack}) {
    CAPTURE(static_cast<int>(ip));
    const auto before = w.counters();
    const Server server(ip);
    const Connection c(server);
    c.ask();
    CHECK(w.arrivals_become(before.arrivals + 1));
    CHECK(w.counters().waiting == 1);
    c.answer();
    CHECK(w.waiting_becomes(0));
  }
}

TEST_CASE("the events of one request come in order, with its service, port, process and times") {
  Watching w;
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  const auto began_ns = now_ns();
  const Server server;
  const Connection c(server);
  c.ask();
  c.answer();
  REQUIRE(w.waiting_becomes(0));
  w.drain();
  REQUIRE(w.events.size() == 4);
  const EventKind order[] = {EventKind::listen, EventKind::syn, EventKind::arrival, EventKind::idle};
  auto last_ns = began_ns;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(w.events[i].kind == order[i]);
    CHECK(w.events[i].service == w.service);
    CHECK(w.events[i].time_ns >= last_ns);
    last_ns = w.events[i].time_ns;
  }
  CHECK(last_ns <= now_ns());
  CHECK(w.events[0].tgid == static_cast<std::uint32_t>(::getpid()));
  CHECK(w.events[0].port == server.port);
  CHECK(w.counters().last_in_ns == w.events[2].time_ns);
  CHECK(w.counters().last_out_ns == w.events[3].time_ns);
}

TEST_CASE("an arrival makes poll_fd readable, the end of a request does not") {
  Watching w;
  const Server server;
  const Connection c(server);
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  CHECK_FALSE(readable(w.arrivals->poll_fd()));
  c.ask();
  CHECK(eventually([&] { return readable(w.arrivals->poll_fd()); }));
  CHECK(w.comes(EventKind::arrival));
  CHECK_FALSE(readable(w.arrivals->poll_fd()));
  c.answer();
  REQUIRE(w.waiting_becomes(0));
  CHECK_FALSE(readable(w.arrivals->poll_fd()));
  CHECK(w.count(EventKind::idle) == 1);
}

TEST_CASE("sockets older than the watch are found, with and without the tracing programs") {
  for (const auto programs : {Arrivals::Programs::all, Arrivals::Programs::packets_only}) {
    CAPTURE(static_cast<int>(programs));
    Watching w(programs);
    const Server server, other(Ip::v6);
    const Connection old(server);
    REQUIRE(w.arrivals->watch(w.service, ::getpid()));
    CHECK(w.arrivals->ports(w.service) ==
          std::vector<std::uint16_t>{std::min(server.port, other.port), std::max(server.port, other.port)});
    old.ask();
    CHECK(w.arrivals_become(1));
    old.answer();
    CHECK(w.waiting_becomes(0));
    const Connection young(other);
    young.ask();
    CHECK(w.arrivals_become(2));
    CHECK(w.counters().waiting == 1);
  }
}

TEST_CASE("watching again leaves a request in flight as it is") {
  for (const auto programs : {Arrivals::Programs::all, Arrivals::Programs::packets_only}) {
    Watching w(programs);
    const Server server;
    const Connection c(server);
    REQUIRE(w.arrivals->watch(w.service, ::getpid()));
    c.ask();
    REQUIRE(w.waiting_becomes(1));
    REQUIRE(w.arrivals->watch(w.service, ::getpid()));
    c.answer();
    CHECK(w.waiting_becomes(0));
    CHECK(w.counters().arrivals == 1);
  }
}

TEST_CASE("a worker's inherited connection is found by watching the process that forked it") {
  Watching w;
  Channel port, ready;
  Process service([&] {
    const Server server;
    const Process worker([&] {
      const Handle accepted = accept_from(server);
      ready.put(1);
      for (;;) receive_bytes(accepted);
    });
    port.put(server.port);
    for (;;) ::pause();
  });
  Server far(Ip::v4);  // only its address is used
  far.port = static_cast<std::uint16_t>(port.get());
  const Handle client = connect_to(far);
  ready.get();
  REQUIRE(w.arrivals->watch(w.service, service.pid()));
  send_bytes(client);
  CHECK(w.arrivals_become(1));
}

TEST_CASE("what a service asks of others is no request to it") {
  Watching w;
  Channel port;
  const Process database([&] {
    const Server server;
    port.put(server.port);
    const Handle c = accept_from(server);
    for (;;) {
      receive_bytes(c);
      send_bytes(c);
    }
  });
  Server far(Ip::v4);
  far.port = static_cast<std::uint16_t>(port.get());
  const Handle outgoing = connect_to(far);
  const Server own;
  const Connection c(own);
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  send_bytes(outgoing);
  receive_bytes(outgoing);
  c.ask();  // ordered after the other's answer, so the count is complete
  CHECK(w.arrivals_become(1));
  CHECK(w.counters().arrivals == 1);
}

TEST_CASE("a named port is seen whoever listens there") {
  Watching w;
  Channel port, go;
  const Process proxy([&] {
    const Server server;
    port.put(server.port);
    const Handle c = accept_from(server);
    receive_bytes(c);
    go.get();
    send_bytes(c);
    for (;;) ::pause();
  });
  Server far(Ip::v4);
  far.port = static_cast<std::uint16_t>(port.get());
  const Handle older = connect_to(far);
  REQUIRE(w.arrivals->watch_port(w.service, far.port));
  CHECK(w.arrivals->ports(w.service) == std::vector<std::uint16_t>{far.port});
  send_bytes(older);
  CHECK(w.waiting_becomes(1));
  go.put(1);
  receive_bytes(older);
  CHECK(w.waiting_becomes(0));
  CHECK(w.counters().arrivals == 1);
}

TEST_CASE("two loaders at once do not disturb each other") {
  Watching one, two;
  const Server server;
  const Connection c(server);
  REQUIRE(one.arrivals->watch(one.service, ::getpid()));
  REQUIRE(two.arrivals->watch(two.service, ::getpid()));
  c.ask();
  CHECK(one.arrivals_become(1));
  CHECK(two.arrivals_become(1));
}

TEST_CASE("a forgotten service is not counted, and its id begins anew") {
  Watching w;
  const Server server;
  const Connection c(server);
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  c.ask();
  REQUIRE(w.waiting_becomes(1));
  w.arrivals->forget(w.service);
  CHECK(w.counters() == Arrivals::Counters{});
  CHECK(w.arrivals->ports(w.service).empty());
  c.answer();
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  CHECK(w.counters() == Arrivals::Counters{});
  c.ask();
  CHECK(w.arrivals_become(1));
  CHECK(w.counters().waiting == 1);
}

TEST_CASE("a listener that leaves the choice of its port to the kernel is listed too") {
  Watching w;
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  const Handle unbound = listen_unbound();
  CHECK(w.comes(EventKind::listen));
  CHECK(w.arrivals->ports(w.service).size() == 1);
}

TEST_CASE("another network namespace is seen") {
  Watching w;
  Channel ready, go;
  const Process container([&] {
    enter_own_network();
    const Server server;
    ready.put(server.port);
    go.get();
    const Connection c(server);
    c.ask();
    for (;;) ::pause();
  });
  const auto port = static_cast<std::uint16_t>(ready.get());
  REQUIRE(w.arrivals->watch(w.service, container.pid()));
  CHECK(w.arrivals->ports(w.service) == std::vector<std::uint16_t>{port});
  go.put(1);
  CHECK(w.arrivals_become(1));
}

TEST_CASE("the sockets of a forgotten service do not count for the next one with its id") {
  Watching w;
  const Process other([] {
    for (;;) ::pause();
  });  // older than the sockets: it inherits none
  const Server server;
  const Connection c(server);
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  w.arrivals->forget(w.service);
  REQUIRE(w.arrivals->watch(w.service, other.pid()));
  c.ask();
  const Connection young(server);
  young.ask();
  CHECK(w.counters().arrivals == 0);
}

TEST_CASE("what cannot be watched is named") {
  Watching w;
  std::string why_not;
  int gone = 0;
  {
    const Process short_lived([] { ::_exit(0); });
    gone = short_lived.pid();
  }
  CHECK_FALSE(w.arrivals->watch(w.service, gone, &why_not));
  CHECK(why_not == "cannot see the sockets of process " + std::to_string(gone) + ": No such process");
  CHECK_FALSE(w.arrivals->watch(max_services, ::getpid(), &why_not));
  CHECK(why_not == "cannot watch service 256: too many");
  CHECK_FALSE(w.arrivals->watch_port(w.service, 0, &why_not));
  CHECK(why_not == "cannot watch port 0");
}

// Requests that are there before their connection: the first bytes meet the listener, and may meet the connection, too.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include <atomic>
#include <optional>
#include <thread>

#include "bpf/head.h"
#include "tests/bpf/repeat.h"
#include "tests/bpf/watching.h"

using namespace lull;
using namespace lull::test;

namespace {

void pin_to_cpu(unsigned cpu) {  // where there is no such CPU, it only gets harder to fail
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)::sched_setaffinity(0, sizeof(set), &set);
}

// Connects, and leaves the handshake's last acknowledgement for the first data or for somebody else.
Handle connect_without_last_word(const Server& server) {
  Handle client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int off = 0;
  CHECK(::setsockopt(client.get(), IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off)) == 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(server.port);
  CHECK(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  return client;
}

// The first data completes the handshake, however late it comes.
struct DeferringServer : Server {
  DeferringServer() {
    const int seconds = 60;
    REQUIRE(::setsockopt(listener.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) == 0);
  }
};

struct Early : Watching {
  Early() { REQUIRE(arrivals->watch(service, ::getpid())); }

  void begin(std::string_view text) {
    client = connect_to(server);
    send_text(client, text);
    accepted = accept_from(server);
    receive_bytes(accepted, text.size());
    CHECK(comes(EventKind::arrival));
    CHECK(counters().arrivals == 1);
    CHECK(counters().waiting == 0);
  }
  void answer(std::string_view text = "HTTP/1.1 200 OK\r\n\r\n") {
    send_text(accepted, text);
    receive_bytes(client, text.size());
  }

  DeferringServer server;
  Handle client, accepted;
};

constexpr std::string_view head = "POST /a HTTP/1.1\r\ncontent-length: 4\r\n\r\n";

}  // namespace

TEST_CASE("a request in the handshake's last packet is announced, and is not left waiting") {
  Early w;
  w.begin(head);
  w.answer();
  CHECK(w.counters().waiting == 0);
  send_text(w.client, head);
  CHECK(w.waiting_becomes(1));
  CHECK(w.counters().arrivals == 2);
  w.answer();
  CHECK(w.waiting_becomes(0));
}

TEST_CASE("the body of a request whose head came with the handshake is no second one, and tells that it waits") {
  Early w;
  w.begin(head);
  send_text(w.client, "body");
  CHECK(w.waiting_becomes(1));
  w.answer();
  CHECK(w.waiting_becomes(0));
  CHECK(w.counters().arrivals == 1);
}

TEST_CASE("a request that is repeated after its handshake counts once, before and after its answer") {
  for (const bool answered : {false, true}) {
    CAPTURE(answered);
    Early w;
    w.begin("a");
    if (answered) w.answer();
    Segment::last_byte(w.client).send();
    if (!answered) {
      CHECK(w.waiting_becomes(1));
      w.answer();
    }
    send_text(w.client, "GET /b HTTP/1.1\r\n\r\n");
    CHECK(w.waiting_becomes(1));
    w.answer();
    CHECK(w.waiting_becomes(0));
    CHECK(w.counters().arrivals == 2);
  }
}

TEST_CASE("a probe that comes with the handshake is ignored once") {
  Early w;
  w.arrivals->set_filter(w.service, {0, {{LULL_METHOD_GET, "/health", false, true}}, {}});
  w.client = connect_to(w.server);
  send_text(w.client, "GET /health HTTP/1.1\r\n\r\n");
  w.accepted = accept_from(w.server);
  Segment::last_byte(w.client).send();
  w.answer();
  send_text(w.client, head);
  CHECK(w.waiting_becomes(1));
  CHECK(w.counters().arrivals == 1);
  CHECK(w.counters().ignored == 1);
}

TEST_CASE("a request that meets its handshake's last acknowledgement, on another CPU, counts once") {
  Watching w;
  const Server server;
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  constexpr int connections = 300;
  std::optional<Segment> last_word;
  std::atomic<int> ready = 0, sent = 0;  // connections; both sides spin, to meet within a microsecond
  const auto wait_for = [](const std::atomic<int>& count, int wanted) {
    while (count < wanted) std::this_thread::yield();
  };
  std::jthread other([&] {
    pin_to_cpu(1);
    for (int i = 1; i <= connections; ++i) {
      wait_for(ready, i);
      if (ready > connections) return;
      last_word->send();
      sent = i;
    }
  });
  const auto exchange = [&](int i) {
    const Handle client = connect_without_last_word(server);
    last_word.emplace(Segment::acknowledgement(client));
    ready = i;
    send_bytes(client);
    const Handle service = accept_from(server);
    receive_bytes(service);
    send_bytes(service);
    wait_for(sent, i);
  };
  std::jthread one([&] {
    pin_to_cpu(0);
    try {
      for (int i = 1; i <= connections; ++i) exchange(i);
    } catch (const std::exception&) {
    }
    ready = connections + 1;
  });
  one.join();
  CHECK(sent == connections);
  CHECK(w.counters().arrivals == connections);
  CHECK(w.counters().waiting == 0);
}

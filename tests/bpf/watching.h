// tests/bpf/watching.h: loaded programs and the events they have sent.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "bpf/loader.h"
#include "tests/bpf/sockets.h"

namespace lull::test {

struct Watching {
  explicit Watching(Arrivals::Programs programs = Arrivals::Programs::all)
      : arrivals(Arrivals::load(&why_not, programs)) {
    REQUIRE_MESSAGE(arrivals, why_not);
  }

  void drain() {
    arrivals->consume([this](const Event& event) { events.push_back(event); },
                      [this](const DeviceOpen& open) { opens.push_back(open); });
  }
  long count(EventKind kind) {
    drain();
    return std::count_if(events.begin(), events.end(), [kind](const Event& e) { return e.kind == kind; });
  }
  bool comes(EventKind kind, long times = 1) {
    return eventually([&] { return count(kind) >= times; });
  }

  Arrivals::Counters counters() const { return arrivals->counters(service); }
  bool waiting_becomes(std::uint32_t wanted) const {
    return eventually([&] { return counters().waiting == wanted; });
  }
  bool arrivals_become(std::uint64_t wanted) const {
    return eventually([&] { return counters().arrivals == wanted; });
  }
  bool completions_become(std::uint64_t wanted) const {
    return eventually([&] { return counters().completions == wanted; });
  }

  static constexpr std::uint32_t service = 7;
  std::string why_not;
  std::unique_ptr<Arrivals> arrivals;
  std::vector<Event> events;
  std::vector<DeviceOpen> opens;
};

// Both ends of a connection to a server of this process.
struct Connection {
  explicit Connection(const Server& server) : client(connect_to(server)), service(accept_from(server)) {}
  void ask(std::size_t bytes = 1) const {
    send_bytes(client, bytes);
    receive_bytes(service, bytes);
  }
  void answer(std::size_t bytes = 1) const {
    send_bytes(service, bytes);
    receive_bytes(client, bytes);
  }
  // The same in words; what is said has arrived when these return.
  void ask(std::string_view text) const {
    send_text(client, text);
    receive_bytes(service, text.size());
  }
  void answer(std::string_view text) const {
    send_text(service, text);
    receive_bytes(client, text.size());
  }
  Handle client, service;
};

}  // namespace lull::test

// Many requests at once that end in every way, against the truth as the clients know it.
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "tests/bpf/watching.h"

using namespace lull;
using namespace lull::test;

namespace {

enum Ending : char { answered, answered_then_reset, half_closed, reset_by_client, closed_by_service, endings };

struct Truth {
  std::atomic<std::uint64_t> arrivals = 0, completions = 0;
};

// The service side of one connection: does what the client's choice of ending needs.
void serve(const Connection& c, Ending ending, std::size_t bytes) {
  receive_bytes(c.service, bytes);
  if (ending <= half_closed) send_bytes(c.service, 1 + bytes / 2);
}

// One connection of 1-3 requests; all but the last are answered, the last one ends as chosen.
void one_connection(const Server& server, std::mt19937& random, Truth& truth) {
  Connection c(server);
  const auto requests = 1 + random() % 3;
  for (auto i = requests; i > 0; --i) {
    const auto ending = i > 1 ? answered : static_cast<Ending>(random() % endings);
    const std::size_t bytes = 1 + random() % 20'000;
    send_bytes(c.client, bytes / 2 + 1);
    if (bytes > bytes / 2 + 1) send_bytes(c.client, bytes - (bytes / 2 + 1));
    if (ending == half_closed) shut_writing(c.client);
    ++truth.arrivals;
    serve(c, ending, bytes);
    if (ending <= half_closed) {
      receive_bytes(c.client, 1 + bytes / 2);
      ++truth.completions;
    }
    if (ending == answered_then_reset || ending == reset_by_client) return reset(std::move(c.client));
    if (ending == closed_by_service) c.service = Handle();
  }
}

}  // namespace

TEST_CASE("after 500 connections with requests of every ending nobody is counted as waiting") {
  Watching w;
  REQUIRE(w.arrivals->watch(w.service, ::getpid()));
  constexpr unsigned threads = 4, connections_each = 125;
  Truth truth;
  std::atomic<unsigned> failed = 0;
  {
    std::array<std::jthread, threads> clients;
    for (unsigned id = 0; id < threads; ++id)
      clients[id] = std::jthread([&truth, &failed, id] {
        std::mt19937 random(id);
        try {
          const Server server(id % 2 == 0 ? Ip::v4 : Ip::v6);
          for (unsigned i = 0; i < connections_each; ++i) one_connection(server, random, truth);
        } catch (const std::exception&) {
          ++failed;
        }
      });
  }
  REQUIRE(failed == 0);
  CHECK(w.waiting_becomes(0));
  CHECK(w.completions_become(truth.completions));
  CHECK(w.counters().arrivals == truth.arrivals);
  CHECK(truth.arrivals >= 500);
}

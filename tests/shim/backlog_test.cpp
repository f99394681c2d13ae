// What is estimated from looks at markers, by tables of looks. Times in milliseconds, a limit of 20.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "shim/backlog.h"

using lull::Backlog;

namespace {

constexpr std::uint64_t ms = 1'000'000, limit = 20 * ms;

// A stream whose units take a set time each, and a program that looks as the shim does.
struct Stream {
  Backlog backlog;
  std::uint64_t now = 1000 * ms, unit_ns;
  std::uint64_t finished_at = 0;  // of all that was issued
  struct Placed {
    Backlog::Marker at;
    std::uint64_t passes_ns;
  };
  std::deque<Placed> markers;

  explicit Stream(std::uint64_t each_ns) : unit_ns(each_ns) { backlog.begin(limit, now); }

  bool waits() const { return !markers.empty(); }
  void look(std::uint64_t held_up_ns = 0) {
    const std::uint64_t asked = now;
    now += held_up_ns;
    std::optional<Backlog::Marker> passed;
    for (; waits() && markers.front().passes_ns <= now; markers.pop_front()) passed = markers.front().at;
    backlog.seen(asked, now, passed ? &*passed : nullptr, waits() ? &markers.front().at : nullptr);
  }
  void mark() {
    if (!backlog.due(limit, waits())) return;
    markers.push_back({{backlog.position(), now}, std::max(finished_at, now)});
    backlog.marked();
  }
  void issue(Backlog::Units units) {
    backlog.follows(units);
    backlog.issue(units);
    finished_at = (finished_at > now ? finished_at : now) + units * unit_ns;
  }
  std::uint64_t queued_ns() const { return finished_at > now ? finished_at - now : 0; }

  // As one thread does, with so much time of its own for each launch. The most that was queued.
  std::uint64_t launch(unsigned launches, std::uint64_t host_ns) {
    std::uint64_t most = 0;
    for (Backlog::Units credit = 0; launches > 0; --launches, --credit) {
      if (credit == 0) {
        look();
        if (waits() && !backlog.room(1, limit)) do
            now += ms / 10, look();
          while (waits() && !backlog.calm(limit));
        credit = backlog.credit(limit);
        mark();
      }
      issue(1);
      now += host_ns;
      most = queued_ns() > most ? queued_ns() : most;
    }
    return most;
  }
};

}  // namespace

TEST_CASE("the first units of a stream are let in one by one, and not many before one has been seen to end") {
  Stream stream(100 * ms);
  CHECK(stream.backlog.credit(limit) == 1);
  CHECK(stream.launch(9, 0) <= 900 * ms);
  CHECK(stream.launch(20, 0) <= 900 * ms);
}

TEST_CASE("kernels of any length are queued up to the limit, or to the one that runs and one behind it") {
  for (const std::uint64_t unit : {ms / 200, ms / 20, ms / 2, 2 * ms, 6 * ms, 50 * ms}) {
    INFO(unit);
    Stream stream(unit);
    stream.launch(300, 1000);
    const std::uint64_t most = stream.launch(static_cast<unsigned>(60 * ms / unit) + 20, 1000);
    CHECK(most <= limit + limit / 4 + 2 * unit);
    if (unit > ms / 20) CHECK(most >= limit / 2);
  }
}

TEST_CASE("a stream that is never behind is looked at every 128 launches, or every millisecond") {
  for (const std::uint64_t host_ns : {5'000ull, 50'000ull}) {
    Stream stream(1000);
    stream.launch(2000, host_ns);
    CHECK(stream.backlog.credit(limit) >= std::min<Backlog::Units>(128, ms / host_ns));
  }
}

TEST_CASE("the estimate rises within a few looks when kernels get longer, and comes down when they get shorter") {
  Stream stream(ms / 100);
  stream.launch(3000, 2000);
  CHECK(stream.backlog.unit_ns() <= ms / 80);
  stream.unit_ns = 2 * ms;
  stream.launch(3000, 2000);
  CHECK(stream.backlog.unit_ns() >= ms);
  stream.unit_ns = ms / 100;
  stream.launch(2000, 2000);
  CHECK(stream.backlog.unit_ns() <= ms / 50);
}

TEST_CASE("what was queued before anybody counted is not taken for the first units") {
  Stream stream(ms / 10);
  stream.finished_at = stream.now + 500 * ms;
  CHECK(stream.launch(30, 1000) <= 500 * ms + limit);
  stream.launch(100, 1000);
  CHECK(stream.backlog.unit_ns() <= ms / 5);
}

TEST_CASE("work in front of a long piece is not timed by how soon the piece was looked at") {
  Stream stream(ms);
  for (unsigned i = 0; i < 3; ++i) stream.launch(1, 1000), stream.now += 50 * ms;
  for (unsigned i = 0; i < 4; ++i) {
    stream.look();
    stream.mark();
    stream.issue(20);
    stream.now += 1000;
  }
  CHECK(stream.backlog.unit_ns() >= ms / 2);
}

TEST_CASE("a pause of the program is not taken for work") {
  Stream stream(ms);
  stream.launch(50, 1000);
  stream.now += 10'000 * ms;
  stream.launch(50, 1000);
  CHECK(stream.backlog.unit_ns() <= 2 * ms);
}

TEST_CASE("a look that is held up before the driver answers does not take kernels for shorter than they are") {
  Stream stream(2 * ms);
  for (unsigned i = 0; i < 4; ++i) stream.mark(), stream.issue(1), stream.now += 1000;
  stream.look();
  for (unsigned i = 0; i < 3; ++i) {
    stream.look(2 * ms);
    CHECK(stream.backlog.unit_ns() >= 2 * ms - 1000);
  }
}

TEST_CASE("nor does one that comes long after a marker has been passed") {
  Stream stream(2 * ms);
  stream.finished_at = stream.now + ms / 5;
  for (unsigned i = 0; i < 4; ++i) stream.mark(), stream.issue(1), stream.now += 1000;
  stream.look();
  stream.now += 2 * ms;
  stream.look();
  stream.now += ms / 5;
  stream.look();
  CHECK(stream.backlog.outstanding() == 3);
  CHECK(stream.backlog.unit_ns() >= 2 * ms);
}

TEST_CASE("a stream that does not move lets more and more go on before each wait") {
  Backlog backlog;
  backlog.begin(limit, 0);
  Backlog::Units all = 0;
  for (unsigned wait = 0; wait < 11; ++wait) all += backlog.gave_up();
  CHECK(all == 2047);
  backlog.issue(1);
  const Backlog::Marker passed{1, 0};
  backlog.seen(ms, ms, &passed, nullptr);
  CHECK(backlog.gave_up() == 1);
}

TEST_CASE("a heavy piece finds room when it fits, or when it would only be the one behind what runs") {
  Stream stream(ms);
  stream.launch(40, 1000);
  stream.now += 1000 * ms;
  stream.look();
  stream.issue(19);
  CHECK_FALSE(stream.backlog.room(30, limit));
  CHECK(stream.backlog.outstanding() > 0);
  stream.backlog.follows(30);
  CHECK(stream.backlog.room(30, limit));
}

// Who gets host memory, who is to give some back, and what happens to what comes back.
#include "broker/backing.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <thread>

#include "broker/chores.h"
#include "broker/lent.h"
#include "broker/units.h"
#include "protocol/memory.h"
#include "protocol/socket.h"

using namespace lull;
using policy::Bytes;
using policy::second;
using policy::Time;

namespace {

constexpr Bytes chunk = 128 * mib;
constexpr ArenaLimits plenty{40 * gib, 40 * gib, 40 * gib};
constexpr Time calm = 60 * second, now = 1000 * second;

Backed client(policy::ClientId id, Bytes needed, Bytes backing, Bytes deficit = 0) {
  return {.id = id, .needed = needed, .backing = backing, .deficit = deficit, .chunk = chunk};
}

Claim claim(const Backed& b, Pressure pressure = Pressure::none) {
  return claim_of(b, remember_need({}, b, now, calm), pressure);
}

long allocated(int fd) {
  struct stat status {};
  REQUIRE(::fstat(fd, &status) == 0);
  return status.st_blocks * 512;
}

Fd memory(Bytes bytes) {
  auto made = make_shared_memory("test", bytes, Writers::everyone);
  REQUIRE(made);
  REQUIRE(::fallocate(made->fd.get(), 0, 0, static_cast<off_t>(bytes)) == 0);
  return std::move(made->fd);
}

}  // namespace

TEST_CASE("what cannot be done without comes first, then whole needs, in order of connection") {
  const std::array both{claim(client(1, 10 * gib, 3 * gib, 2 * gib)), claim(client(2, 10 * gib, 0, 2 * gib))};
  CHECK(next_growth(both, plenty)->id == 2);
  const std::array satisfied{both[0], claim(client(2, 10 * gib, 3 * gib, 2 * gib))};
  CHECK(next_growth(satisfied, plenty)->id == 1);
  CHECK_FALSE(next_growth(satisfied, {6 * gib, 40 * gib, 6 * gib}));
  CHECK_FALSE(next_growth(satisfied, {40 * gib, 6 * gib, 40 * gib}));
}

TEST_CASE("what is made ahead of need stops earlier than what has to be") {
  const std::array ahead{claim(client(1, 10 * gib, 0)), claim(client(2, 0, 0))};
  CHECK_FALSE(next_growth(ahead, {40 * gib, 40 * gib, 0}));
  const std::array has_to{claim(client(1, 10 * gib, 0, 5 * gib)), claim(client(2, 0, 0))};
  CHECK(next_growth(has_to, {40 * gib, 40 * gib, 0})->id == 1);
}

TEST_CASE("pieces are whole chunks of at most a gigabyte") {
  const auto piece = [](Bytes needed, Bytes unit) {
    auto b = client(1, needed, 0);
    b.chunk = unit;
    const std::array two{claim(b), claim(client(2, 0, 0))};
    return next_growth(two, plenty)->bytes;
  };
  CHECK(piece(10 * gib, chunk) == gib);
  CHECK(piece(5 * mib, 16 * mib) == 64 * mib);
  CHECK(piece(5 * mib, 2 * mib) == 32 * mib);
}

TEST_CASE("a client alone leaves half the budget to those to come") {
  const std::array alone{claim(client(1, 30 * gib, 19 * gib))};
  CHECK(next_growth(alone, plenty)->bytes == gib);
  const std::array at_half{claim(client(1, 30 * gib, 20 * gib))};
  CHECK_FALSE(next_growth(at_half, plenty));
}

TEST_CASE("a client that could not evict for want of backing gets more than its needs, once and for all") {
  auto full = client(1, gib, gib + chunk);
  CHECK_FALSE(next_growth(std::array{claim(full), claim(client(2, 0, 0))}, plenty));
  full.starved = true;
  auto need = remember_need({}, full, now, calm);
  CHECK(next_growth(std::array{claim_of(full, need, Pressure::none), claim(client(2, 0, 0))}, plenty)->id == 1);
  full.starved = false;
  full.backing += chunk;
  need = remember_need(need, full, now + 10 * calm, calm);
  CHECK(backing_limit(full, need, Pressure::none) == full.backing);
  for (int i = 0; i < 1000; ++i) {  // not without end
    full.starved = true;
    need = remember_need(need, full, now, calm);
    full.backing = backing_limit(full, need, Pressure::none);
  }
  CHECK(full.backing <= 2 * gib + 2 * chunk);
}

TEST_CASE("the limit follows what is needed: up at once, down after the linger") {
  auto b = client(1, 10 * gib, 0);
  auto need = remember_need({}, b, now, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 10 * gib + chunk);
  b.needed = 4 * gib;
  need = remember_need(need, b, now + calm - 1, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 10 * gib + chunk);
  need = remember_need(need, b, now + calm, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 4 * gib + chunk);
  b.needed = 5 * gib;
  need = remember_need(need, b, now + calm + 1, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 5 * gib + chunk);
  b.needed = 0;
  need = remember_need(need, b, now + 3 * calm, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 0);
}

TEST_CASE("within the linger nothing is given for needs that are gone") {
  auto b = client(1, 10 * gib, 4 * gib + chunk);
  auto need = remember_need({}, b, now, calm);
  b.needed = 4 * gib;
  need = remember_need(need, b, now + second, calm);
  CHECK_FALSE(next_growth(std::array{claim_of(b, need, Pressure::none), claim(client(2, 0, 0))}, plenty));
}

TEST_CASE("what a client brings along from an earlier broker is not taken at first sight") {
  const auto b = client(1, 0, 8 * gib);  // not attached yet: nothing is known of its needs
  auto need = remember_need({}, b, now, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 8 * gib);
  need = remember_need(need, b, now + calm, calm);
  CHECK(backing_limit(b, need, Pressure::none) == 0);
}

TEST_CASE("under pressure goes first what neighbours do not ask for, then what is kept only to save copies") {
  const auto limit = [](const Backed& b, Pressure p) { return claim(b, p).limit; };
  const auto fits = client(1, 10 * gib, 10 * gib, 0);  // with everybody there
  CHECK(limit(fits, Pressure::none) == 10 * gib + chunk);
  CHECK(limit(fits, Pressure::tight) == 0);
  const auto in_turns = client(1, 10 * gib, 10 * gib, 6 * gib);
  CHECK(limit(in_turns, Pressure::tight) == 6 * gib + chunk);
  CHECK(limit(in_turns, Pressure::severe) == 0);
  auto out = in_turns;
  out.evicted = 7 * gib;
  CHECK(limit(out, Pressure::tight) == 7 * gib + chunk);
  CHECK(limit(out, Pressure::severe) == 7 * gib + chunk);
  auto stuck = in_turns;  // its eviction cannot go on without
  stuck.starved = true;
  CHECK(limit(stuck, Pressure::severe) == 10 * gib + chunk);
}

TEST_CASE("under pressure nobody is given what he would have to give back") {
  const std::array two{claim(client(1, 10 * gib, 0, 6 * gib), Pressure::severe), claim(client(2, 0, 0))};
  CHECK_FALSE(next_growth(two, plenty));
}

TEST_CASE("pressure begins at once and is over when it has not been seen for a while") {
  CHECK(pressure_of(4 * gib, 4 * gib) == Pressure::none);
  CHECK(pressure_of(4 * gib - 1, 4 * gib) == Pressure::tight);
  CHECK(pressure_of(2 * gib - 1, 4 * gib) == Pressure::severe);
  CHECK(pressure_of(0, 0) == Pressure::none);
  auto m = remember_pressure({}, Pressure::severe, now, calm);
  CHECK(m.level == Pressure::severe);
  m = remember_pressure(m, Pressure::none, now + calm - 1, calm);
  CHECK(m.level == Pressure::severe);
  m = remember_pressure(m, Pressure::tight, now + calm, calm);
  CHECK(m.level == Pressure::tight);
  m = remember_pressure(m, Pressure::none, now + 2 * calm, calm);
  CHECK(m.level == Pressure::none);
}

TEST_CASE("what is returned is counted no more and its memory is gone, whoever still maps it") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
  const Fd ours(ends[0]), theirs(ends[1]);
  Lent lent;
  lent.add(memory(4 * mib), 4 * mib, 7);
  CHECK_FALSE(lent.take_back(7, 4 * mib));  // not sent yet
  lent.send(ours.get());
  auto packet = receive_packet(theirs.get());
  REQUIRE((packet && packet->fd_count == 1));
  CHECK(std::get<lull::Arena>(*parse_message(packet->view())).number == 7);
  void* base = ::mmap(nullptr, 4 * mib, PROT_READ | PROT_WRITE, MAP_SHARED, packet->fds[0].get(), 0);
  REQUIRE(base != MAP_FAILED);
  const Mapping mapping(base, 4 * mib);
  mapping.as<char>()[0] = 'x';
  CHECK_FALSE(lent.take_back(8, 4 * mib));
  CHECK_FALSE(lent.take_back(7, 2 * mib));
  CHECK(lent.bytes() == 4 * mib);
  CHECK(lent.take_back(7, 4 * mib));
  CHECK(lent.bytes() == 0);
  for (const auto& garbage : lent.take_returned()) free_memory(garbage);
  CHECK(allocated(packet->fds[0].get()) == 0);
  CHECK(mapping.as<char>()[0] == 0);  // a liar's own loss
}

TEST_CASE("a process that connects again keeps what it was lent, another program in its place does not") {
  const auto lent = [] {
    Lent l;
    l.add(memory(2 * mib), 2 * mib, 1);
    return l;
  };
  Lent again;
  again.claim(6 * mib);  // 4 of them from an earlier broker
  again.inherit(lent());
  CHECK(again.bytes() == 6 * mib);
  CHECK(again.take_returned().empty());
  Lent lies;
  lies.claim(1);
  lies.inherit(lent());
  CHECK(lies.bytes() == 2 * mib);
  Lent other;
  other.inherit(lent());
  CHECK(other.bytes() == 0);
  CHECK(other.take_returned().size() == 1);
}

TEST_CASE("memory of an earlier broker goes with its mapping and is counted no more") {
  Lent lent;
  lent.claim(4 * mib);
  CHECK(lent.take_back(99, 2 * mib));
  CHECK(lent.bytes() == 2 * mib);
  CHECK_FALSE(lent.take_back(99, 4 * mib));
  CHECK(lent.bytes() == 2 * mib);
}

TEST_CASE("who does not come back keeps the memory, and it stays counted") {
  Lent lent;
  lent.add(memory(2 * mib), 2 * mib, 1);
  CHECK(lent.let_go().size() == 1);
  CHECK(lent.bytes() == 2 * mib);
  CHECK(lent.take_all().empty());
}

TEST_CASE("arena numbers are never 0 and never the same") {
  ArenaNumbers one, other;
  const auto first = one.next();
  CHECK(first != 0);
  CHECK(one.next() != first);
  CHECK(other.next() != one.next());
}

TEST_CASE("chores are done in order, off this thread, and what they hold is freed there") {
  std::thread::id where;
  {
    std::atomic<int> done{0};
    Chores chores;
    for (int i = 0; i < 100; ++i)
      chores.add([&, i] {
        if (done == i) ++done;
        where = std::this_thread::get_id();
      });
    while (done < 100) std::this_thread::yield();
  }
  CHECK(where != std::this_thread::get_id());
}

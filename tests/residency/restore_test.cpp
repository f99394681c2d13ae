// What comes back is proven, and a movement that nobody wants any more ends.
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

constexpr std::size_t piece = 16 * mib, large_chunk = 48 * mib;
constexpr std::size_t in_flight = 8;  // pieces

std::uint64_t resident() { return broker().up().resident.load(); }
std::uint64_t needed() { return broker().up().needed.load(); }

}  // namespace

ALONE("a copy that arrives wrong is found by its hash, and made again before the gate opens") {
  prepare(16 * mib);
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory memory(4 * chunk, 1, kind), steady(chunk, 0, kind);  // unless something stays the same, hashing is left off
    steady.zero();
    for (const char* which : {"1", "2", "4"}) {
      memory.fill(static_cast<std::uint32_t>(which[0]));
      REQUIRE(evict());
      tell_driver(std::string("corrupt h2d:") + which);
      const Since before;
      broker().gate(GateState::open);  // the hold alone keeps the program out
      broker().quota(no_limit);
      CHECK(memory.intact());
      CHECK(before.count(sim::Kind::copy_h2d) > 4);
      CHECK_NE(log_text().find("is not what left"), std::string::npos);
      tell_driver("clear");
    }
  }
}

ALONE("while every copy arrives wrong the program waits, the reason is said, and its data is kept") {
  prepare(16 * mib);
  Memory memory(4 * chunk, 2);
  REQUIRE(evict());
  tell_driver("corrupt h2d:1+");
  const std::uint64_t wants = broker().up().wants.load();
  Reader reader({&memory});
  REQUIRE(comes_true([&] { return broker().up().wants.load() > wants; }));
  broker().gate(GateState::open);
  const Since before;
  broker().quota(no_limit);
  // Several attempts, of which none may open the gate.
  REQUIRE(comes_true_with_nudges([&] { return before.count(sim::Kind::copy_h2d) >= 12; }));
  const auto given_up = [] { return broker().phase().phase == Phase::overdue && resident() < needed(); };
  CHECK(comes_true(given_up));
  CHECK_EQ(broker().phase().reason, Overdue::copy_failed);  // from the first failure on, also while it is tried again
  CHECK_FALSE(reader.done());
  tell_driver("clear");
  REQUIRE(comes_true_with_nudges([&] { return reader.done(); }));
  CHECK(reader.intact());
}

ALONE("a copy that leaves wrong is never taken for the content: the program waits, and the reason is said") {
  prepare(16 * mib);
  Memory memory(4 * chunk, 3), other(chunk, 4);
  tell_driver("corrupt d2h:2");
  REQUIRE(evict());
  const std::uint64_t wants = broker().up().wants.load();
  Reader reader({&other});
  REQUIRE(comes_true([&] { return broker().up().wants.load() > wants; }));
  broker().gate(GateState::open);
  const Since before;
  broker().quota(no_limit);
  REQUIRE(comes_true_with_nudges([&] { return before.count(sim::Kind::copy_h2d) >= 12; }));
  CHECK(comes_true([] { return broker().phase().phase == Phase::overdue && resident() < needed(); }));
  CHECK_EQ(broker().phase().reason, Overdue::copy_failed);
  CHECK_NE(log_text().find("is not what left"), std::string::npos);
  CHECK_FALSE(reader.done());
  memory.unmake();  // what is lost only the program can give up
  REQUIRE(comes_true_with_nudges([&] { return reader.done(); }));
  CHECK(reader.intact());
  CHECK_EQ(resident(), needed());
}

ALONE("where bytes are compared, a copy that leaves wrong is found before its chunk goes, and made again",
      "LULL_HASH=compare") {
  prepare(16 * mib);
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory memory(4 * chunk, 5, kind);
    for (const char* which : {"1", "3"}) {
      memory.fill(static_cast<std::uint32_t>(which[0]));
      tell_driver(std::string("corrupt d2h:") + which);
      const Since before;
      broker().gate(GateState::closed);
      REQUIRE(broker().reaches(Phase::drained));
      broker().quota(0);
      CHECK(comes_true_with_nudges([] { return resident() == 0; }));
      CHECK(before.count("cuMemUnmap") >= 4);
      CHECK_NE(log_text().find("is not what is there; made again"), std::string::npos);
      tell_driver("clear");
      REQUIRE(restore());
      CHECK(memory.intact());
    }
  }
}

ALONE("an eviction that is no longer wanted ends with the pieces in flight", "LULL_HASH=off", "LULL_SIM_MEMORY=192MiB",
      "LULL_TEST_CHUNK=50331648") {
  prepare(3 * large_chunk);
  Memory memory(3 * large_chunk, 3);
  broker().gate(GateState::closed);
  REQUIRE(broker().reaches(Phase::drained));
  tell_driver("hang any");  // the first piece
  const Since before;
  broker().quota(0);
  REQUIRE(comes_true([&] { return before.count("cuMemcpyDtoHAsync_v2") == in_flight; }));
  broker().quota(no_limit);
  tell_driver("release any");
  REQUIRE(comes_true([] { return resident() == needed() && broker().phase().phase == Phase::ready; }));
  CHECK_EQ(before.count("cuMemcpyDtoHAsync_v2"), in_flight);
  CHECK_EQ(before.bytes(sim::Kind::copy_d2h), in_flight * piece);
  // What had left as a whole has come back; what had left in part has never been unmapped.
  CHECK_EQ(before.count("cuMemUnmap"), in_flight * piece / large_chunk);
  broker().gate(GateState::open);
  CHECK(memory.intact());
}

ALONE("a restore that is no longer wanted ends with the pieces in flight", "LULL_HASH=off", "LULL_SIM_MEMORY=192MiB",
      "LULL_TEST_CHUNK=50331648") {
  prepare(3 * large_chunk);
  Memory memory(3 * large_chunk, 4);
  REQUIRE(evict());
  tell_driver("hang any");
  const Since before;
  broker().quota(no_limit);
  REQUIRE(comes_true([&] { return before.count("cuMemcpyHtoDAsync_v2") == in_flight; }));
  broker().quota(0);
  tell_driver("release any");
  REQUIRE(comes_true([] { return resident() == 0 && broker().reached(Phase::drained); }));
  CHECK_EQ(before.count("cuMemcpyHtoDAsync_v2"), in_flight);
  CHECK_EQ(before.bytes(sim::Kind::copy_h2d), in_flight * piece);
  CHECK(before.bytes(sim::Kind::copy_d2h) <= in_flight * piece);  // only what had arrived as a whole leaves again
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("an eviction that is wanted less of stops where it suffices", "LULL_HASH=off", "LULL_SIM_MEMORY=192MiB",
      "LULL_TEST_CHUNK=50331648") {
  prepare(3 * large_chunk);
  Memory memory(3 * large_chunk, 5);
  broker().gate(GateState::closed);
  REQUIRE(broker().reaches(Phase::drained));
  tell_driver("hang any");
  const Since before;
  broker().quota(0);
  REQUIRE(comes_true([&] { return before.count("cuMemcpyDtoHAsync_v2") == in_flight; }));
  broker().quota(large_chunk);
  tell_driver("release any");
  REQUIRE(comes_true([] { return resident() == large_chunk && broker().reached(Phase::drained); }));
  CHECK_EQ(before.bytes(sim::Kind::copy_d2h), in_flight * piece);
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("nothing between the closing and the opening of the gate pins, allocates or frees host memory") {
  prepare(32 * mib);
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory memory(8 * chunk, 6, kind), zeros(2 * chunk, 0, kind);
    zeros.zero();
    for (int i = 0; i < 3; ++i) {
      memory.fill(static_cast<std::uint32_t>(10 + i), 0, 3 * chunk);
      const Since closed;
      REQUIRE(evict(i == 1 ? 4 * chunk : 0));
      REQUIRE(restore());
      const auto during = closed.records();
      std::size_t calls = 0;
      for (const sim::Record& record : during) {
        if (record.kind != sim::Kind::call) continue;
        ++calls;
        const std::string_view name = sim::function_name(record.function);
        CAPTURE(name);
        for (const char* slow : {"cuMemHost", "cuMemAllocHost", "cuMemFreeHost", "cuModule", "cuLibrary",
                                 "cuStreamCreate", "cuStreamDestroy", "cuEventDestroy", "cuMemAlloc", "cuMemFree"})
          CHECK_FALSE(name.starts_with(slow));
      }
      CHECK(calls > 20);
      CHECK(memory.intact());
      CHECK(zeros.intact());
    }
  }
}

}  // namespace lull::residency_test

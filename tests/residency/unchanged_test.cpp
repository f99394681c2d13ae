// What has not changed does not move.
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

// What an eviction has copied, and how many kernels it launched. Only hashes are launched here.
struct Cost {
  std::uint64_t copied = 0;
  std::size_t hashes = 0;
};

Cost cost_of_eviction(std::uint64_t bytes = 0) {
  const Since before;
  REQUIRE(evict(bytes));
  return {before.bytes(sim::Kind::copy_d2h), before.count(sim::Kind::kernel)};
}

std::uint64_t resident() { return broker().up().resident.load(); }

}  // namespace

ALONE("an unchanged chunk leaves without a copy, and costs one hash") {
  prepare(16 * mib);
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory memory(4 * chunk, 1, kind);
    CHECK_EQ(cost_of_eviction().copied, 4 * chunk);
    REQUIRE(restore());
    for (int i = 0; i < 3; ++i) {
      const auto unchanged = broker().up().unchanged_bytes.load();
      const Cost cost = cost_of_eviction();
      CHECK_EQ(cost.copied, 0);
      CHECK_EQ(cost.hashes, 4);
      CHECK_EQ(broker().up().unchanged_bytes.load() - unchanged, 4 * chunk);
      REQUIRE(restore());
      CHECK(memory.intact());
    }
  }
}

ALONE("one changed byte moves its chunk and no other") {
  prepare(16 * mib);
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory memory(4 * chunk, 2, kind);
    REQUIRE(evict());
    REQUIRE(restore());
    for (const std::size_t offset : {std::size_t{0}, 2 * chunk - 1, 2 * chunk, 4 * chunk - 1}) {
      memory.change_byte(offset);
      const Since before;
      REQUIRE(evict());
      const auto copies = before.of(sim::Kind::copy_d2h);
      REQUIRE_EQ(copies.size(), 1);
      CHECK_EQ(copies[0].bytes, chunk);
      if (&kind == &allocated) CHECK_EQ(copies[0].address, memory.at() + offset / chunk * chunk);
      CHECK_EQ(before.count(sim::Kind::kernel), 4);
      REQUIRE(restore());
      CHECK(memory.intact());
    }
  }
}

ALONE("zeros are not copied and take no backing, and come back as zeros") {
  prepare(chunk);  // place for one chunk
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory zeros(4 * chunk, 0, kind), other(chunk, 3, kind);
    zeros.zero();
    CHECK_EQ(cost_of_eviction().copied, chunk);
    const Since before;
    REQUIRE(restore());
    CHECK_EQ(before.bytes(sim::Kind::copy_h2d), chunk);
    CHECK(zeros.intact());
    CHECK(other.intact());
  }
}

ALONE("what has become zero gives its place to others") {
  prepare(2 * chunk);
  Memory first(2 * chunk, 4), second(2 * chunk, 0);
  second.zero();
  REQUIRE(evict());
  REQUIRE(restore());
  first.zero();
  second.fill(5);
  CHECK_EQ(cost_of_eviction().copied, 2 * chunk);
  REQUIRE(restore());
  CHECK(first.intact());
  CHECK(second.intact());
}

ALONE("what was never there is not copied, and is zero when it comes") {
  prepare(chunk);
  broker().quota(0);
  REQUIRE(comes_true([] { return broker().up().seen_quota_plus_1.load() == 1; }));
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    const Since before;
    Memory memory(4 * chunk, 0, kind);
    CHECK_EQ(resident(), 0);
    REQUIRE(restore());
    CHECK_EQ(before.bytes(sim::Kind::copy_h2d) + before.bytes(sim::Kind::copy_d2h), 0);
    CHECK(memory.intact());
    broker().quota(0);
    REQUIRE(comes_true([] { return broker().up().seen_quota_plus_1.load() == 1; }));
  }
}

ALONE("a deficit takes unchanged chunks, and one that turns out changed stays when others suffice") {
  prepare(32 * mib);
  Memory memory(16 * chunk, 6);
  REQUIRE(evict());
  REQUIRE(restore());
  memory.fill(7, 0, 4 * chunk);  // the first to be looked at
  const auto unchanged = broker().up().unchanged_bytes.load();
  CHECK_EQ(cost_of_eviction(12 * chunk).copied, 0);
  CHECK_EQ(resident(), 12 * chunk);
  CHECK_EQ(broker().up().unchanged_bytes.load() - unchanged, 4 * chunk);
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("when unchanged chunks do not suffice, changed ones make up the rest and no more") {
  prepare(32 * mib);
  Memory memory(16 * chunk, 8);
  REQUIRE(evict());
  REQUIRE(restore());
  memory.fill(9, 0, 4 * chunk);
  CHECK_EQ(cost_of_eviction(2 * chunk + 1).copied, 2 * chunk);  // 12 unchanged, and 2 more
  CHECK_EQ(resident(), 2 * chunk);
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("the deficit moves, and less than a chunk beside it") {
  prepare(32 * mib);
  Memory memory(8 * chunk, 10);
  for (const std::uint64_t keep : {8 * chunk - 1, 7 * chunk, 5 * chunk + mib, std::uint64_t{1}}) {
    memory.fill(static_cast<std::uint32_t>(keep));
    CAPTURE(keep);
    const std::uint64_t deficit = resident() - keep, copied = cost_of_eviction(keep).copied;
    CHECK(copied >= deficit);
    CHECK(copied < deficit + chunk);
    REQUIRE(restore());
    CHECK(memory.intact());
  }
}

ALONE("a program that changes everything is not hashed for sixteen evictions, then asked again") {
  prepare(8 * mib);
  Memory memory(2 * chunk, 11);
  std::uint32_t seed = 100;
  const auto next = [&] {
    memory.fill(++seed);
    const Cost cost = cost_of_eviction();
    CHECK_EQ(cost.copied, 2 * chunk);
    const Since before;
    REQUIRE(restore());
    if (cost.hashes == 0) CHECK_EQ(before.count(sim::Kind::kernel), 0);  // nor proven: there is nothing to compare with
    return cost.hashes;
  };
  CHECK_EQ(next(), 2);  // there is no copy yet to be out of date
  CHECK_EQ(next(), 2);
  CHECK_EQ(next(), 2);
  for (int i = 0; i < 16; ++i) CHECK_EQ(next(), 0);
  CHECK_EQ(next(), 2);
  CHECK(memory.intact());
  CHECK_EQ(cost_of_eviction().copied, 0);  // it has stopped changing
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("what has come back and nobody could touch since leaves without a copy", "LULL_HASH=off") {
  prepare(16 * mib);
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Memory memory(4 * chunk, 1, kind);
    CHECK_EQ(cost_of_eviction().copied, 4 * chunk);
    for (int i = 0; i < 3; ++i) {
      const auto restored = broker().up().restored_bytes.load();
      broker().quota(2 * chunk);
      REQUIRE(comes_true([&] { return broker().up().restored_bytes.load() == restored + 2 * chunk; }));
      const auto unchanged = broker().up().unchanged_bytes.load();
      CHECK_EQ(cost_of_eviction().copied, 0);
      CHECK_EQ(broker().up().unchanged_bytes.load() - unchanged, 2 * chunk);
    }
    REQUIRE(restore());
    CHECK(memory.intact());
    memory.fill(2);
    CHECK_EQ(cost_of_eviction().copied, 4 * chunk);  // the program has been let in
    REQUIRE(restore());
    CHECK(memory.intact());
  }
}

ALONE("without hashing every eviction copies, and nothing is launched", "LULL_HASH=off") {
  prepare(8 * mib);
  Memory memory(2 * chunk, 12);
  const Since before;
  for (int i = 0; i < 3; ++i) {
    const Cost cost = cost_of_eviction();
    CHECK_EQ(cost.copied, 2 * chunk);
    CHECK_EQ(cost.hashes, 0);
    REQUIRE(restore());
  }
  CHECK_EQ(before.count("cuLaunchKernel"), 0);
  CHECK_EQ(Since::all().count("cuModuleLoadData"), 0);
  CHECK(memory.intact());
}

ALONE("comparing agrees with the hash, and a difference is told and copied", "LULL_HASH=compare") {
  prepare(8 * mib);
  Memory memory(2 * chunk, 13);
  REQUIRE(evict());
  REQUIRE(restore());
  const auto evicted = broker().up().evicted_bytes.load();
  REQUIRE(evict());
  CHECK_EQ(broker().up().evicted_bytes.load(), evicted);
  REQUIRE(restore());
  CHECK_EQ(log_text().find("its hash has not"), std::string::npos);
  tell_driver("corrupt d2h:1");  // what is read for the comparison
  REQUIRE(evict());
  CHECK_EQ(broker().up().evicted_bytes.load() - evicted, chunk);
  CHECK_NE(log_text().find("has changed and its hash has not"), std::string::npos);
  REQUIRE(restore());
  CHECK(memory.intact());
}

ALONE("an unknown way of hashing is taken as on, and said", "LULL_HASH=sometimes") {
  prepare(8 * mib);
  Memory memory(2 * chunk, 14);
  REQUIRE(evict());
  REQUIRE(restore());
  const Cost cost = cost_of_eviction();
  CHECK_EQ(cost.copied, 0);
  CHECK_EQ(cost.hashes, 2);
  REQUIRE(restore());
  CHECK_NE(log_text().find("LULL_HASH is on, off or compare; taken as on"), std::string::npos);
}

}  // namespace lull::residency_test

// Every call of the driver that an eviction and a restore need fails once, and once for the rest of an attempt.
#include <cstdio>
#include <map>
#include <set>

#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

// Chunks of all sorts: unchanged, changed, zero; of the shim's making and of the program's.
struct Scene {
  Memory ours{2 * chunk, 1}, own{2 * chunk, 2, created}, zeros{chunk, 0};
  std::uint32_t seed = 2;
  Scene() { zeros.zero(); }
  void change() {
    ours.fill(++seed, chunk, chunk);
    own.fill(++seed);
  }
  std::vector<const Memory*> all() const { return {&ours, &own, &zeros}; }
};

// One eviction and one restore, with the program's thread waiting for its memory.
struct Cycle {
  std::vector<sim::Record> records;
  std::uint64_t opened_ns = 0;
  bool intact = false;
};

enum class Heal { never, at_first_overdue };

Cycle run(Scene& scene, const std::string& fault, Heal heal) {
  scene.change();
  const Since before;
  if (!fault.empty()) tell_driver(fault);
  bool healed = heal == Heal::never;
  const auto comes = [&](auto condition) {
    return comes_true_with_nudges([&] {
      if (!healed && broker().reached(Phase::overdue)) tell_driver("clear"), healed = true;
      return condition();
    });
  };
  Cycle cycle;
  broker().gate(GateState::closed);
  REQUIRE(comes([] { return broker().reached(Phase::drained); }));
  broker().quota(0);
  REQUIRE(comes([] { return broker().up().resident.load() == 0 && broker().reached(Phase::drained); }));
  const std::uint64_t wants = broker().up().wants.load();
  const Reader reader(scene.all());
  REQUIRE(comes_true([&] { return broker().up().wants.load() > wants; }));
  cycle.opened_ns = Since::now_ns();
  broker().gate(GateState::open);  // only the hold keeps the reader from memory that is not all there
  broker().quota(no_limit);
  REQUIRE(comes([&] { return reader.done(); }));
  tell_driver("clear");
  cycle.intact = reader.intact();
  cycle.records = before.records();
  return cycle;
}

bool is(const sim::Record& record, const char* function) {
  return record.kind == sim::Kind::call && record.function == sim::function_number(function);
}

std::size_t succeeded(const Cycle& cycle, const char* function) {
  std::size_t count = 0;
  for (const sim::Record& record : cycle.records) count += is(record, function) && record.result == CUDA_SUCCESS;
  return count;
}

// Where the chunks that change are copied from.
std::set<std::uint64_t> homes_of_changed(const Cycle& cycle) {
  std::set<std::uint64_t> homes;
  for (const sim::Record& record : cycle.records)
    if (record.kind == sim::Kind::copy_d2h && record.end_ns < cycle.opened_ns) homes.insert(record.address);
  return homes;
}

bool copied_before(const Cycle& cycle, const sim::Record& unmap) {
  for (const sim::Record& record : cycle.records)
    if (record.kind == sim::Kind::copy_d2h && record.address == unmap.address && record.bytes == chunk &&
        record.written_ns <= unmap.start_ns)
      return true;
  return false;
}

bool unmapped_only_what_was_copied(const Cycle& cycle, const std::set<std::uint64_t>& changed) {
  for (const sim::Record& record : cycle.records)
    if (is(record, "cuMemUnmap") && record.result == CUDA_SUCCESS && record.start_ns < cycle.opened_ns &&
        changed.contains(record.address) && !copied_before(cycle, record))
      return false;
  return true;
}

// How often the mover calls each function in a cycle.
std::map<std::string, unsigned> calls_of_mover(const Cycle& cycle) {
  std::uint32_t mover = 0;
  for (const sim::Record& record : cycle.records)
    if (is(record, "cuMemcpyDtoHAsync_v2")) mover = record.tid;
  std::map<std::string, unsigned> calls;
  for (const sim::Record& record : cycle.records)
    if (record.kind == sim::Kind::call && record.tid == mover)
      ++calls[std::string(sim::function_name(record.function))];
  return calls;
}

const char* fitting_error(const std::string& function) {
  for (const char* makes : {"cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuLaunchKernel"})
    if (function == makes) return "CUDA_ERROR_OUT_OF_MEMORY";
  for (const char* unmakes : {"cuMemUnmap", "cuMemRelease"})
    if (function == unmakes) return "CUDA_ERROR_INVALID_VALUE";
  return "CUDA_ERROR_UNKNOWN";
}

struct Rules {
  std::set<std::uint64_t> changed;
  std::size_t free_before;

  void hold_for(const Cycle& cycle) const {
    CHECK(cycle.intact);
    CHECK(unmapped_only_what_was_copied(cycle, changed));
    CHECK_EQ(succeeded(cycle, "cuMemCreate"), succeeded(cycle, "cuMemRelease"));
    CHECK_EQ(free_on_card(), free_before);
  }
};

// The backing has just the room: places that were lost would be missed by the next evictions.
constexpr std::uint64_t backing_bytes = 5 * chunk;

Cycle undisturbed(Scene& scene) {
  for (int i = 0; i < 2; ++i) (void)run(scene, "", Heal::never);
  return run(scene, "", Heal::never);
}

}  // namespace

ALONE("whichever call fails once, nothing is lost and nothing runs on partial memory") {
  prepare(backing_bytes);
  Scene scene;
  const Cycle usual = undisturbed(scene);
  const Rules rules{homes_of_changed(usual), free_on_card()};
  CHECK_EQ(rules.changed.size(), 3);
  for (const auto& [function, times] : calls_of_mover(usual))
    for (unsigned k = 1; k <= times; ++k) {
      const std::string fault = function + ':' + std::to_string(k) + '=' + fitting_error(function);
      CAPTURE(fault);
      rules.hold_for(run(scene, fault, Heal::never));
    }
}

ALONE("whichever call fails for the rest of an attempt, the next attempt finds everything") {
  prepare(backing_bytes);
  Scene scene;
  const Cycle usual = undisturbed(scene);
  const Rules rules{homes_of_changed(usual), free_on_card()};
  for (const auto& [function, times] : calls_of_mover(usual))
    for (const unsigned k : {1u, (times + 1) / 2}) {
      const std::string fault = function + ':' + std::to_string(k) + "+=" + fitting_error(function);
      CAPTURE(fault);
      rules.hold_for(run(scene, fault, Heal::at_first_overdue));
    }
}

}  // namespace lull::residency_test

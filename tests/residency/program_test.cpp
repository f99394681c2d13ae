// The program allocates, frees, maps and unmaps while its memory is on its way: nothing of it ever waits for the mover.
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

constexpr std::uint64_t delay_ns = 100'000'000;

enum class Way { out, in };

void begin(Way way) {
  broker().gate(GateState::closed);
  REQUIRE(broker().reaches(Phase::drained));
  broker().quota(way == Way::out ? 0 : no_limit);
}

// While the mover waits for some piece of a movement, the program does something. Several such waits are tried, until
// what it did was over before the wait was. Before each, `prepare` makes what it is done to; afterwards all comes back.
void meanwhile(Way way, const std::function<void()>& prepare_it, const std::function<void()>& act,
               const std::function<void()>& check) {
  for (const int wait : {1, 2, 5}) {
    bool in_the_middle = false;
    for (int attempt = 0; attempt < 10 && !in_the_middle; ++attempt) {
      prepare_it();
      if (way == Way::in) REQUIRE(evict());
      const Since before;
      tell_driver("cuEventSynchronize:" + std::to_string(wait) + "=delay 100ms");
      begin(way);
      REQUIRE(comes_true([&] { return before.count(way == Way::out ? "cuLaunchKernel" : "cuMemMap") > 0; }));
      act();
      const std::uint64_t acted_ns = Since::now_ns();
      REQUIRE(comes_true(
          [&] { return broker().up().resident.load() == (way == Way::out ? 0 : broker().up().needed.load()); }));
      REQUIRE(comes_true([] { return broker().phase().phase != Phase::moving; }));
      tell_driver("clear");
      REQUIRE(restore());
      check();
      for (const auto& record : before.calls("cuEventSynchronize"))
        in_the_middle |= record.end_ns - record.start_ns >= delay_ns && record.end_ns > acted_ns;
    }
    CHECK(in_the_middle);
  }
}

// Memory that stays beside what comes and goes.
struct Beside {
  Memory ours{3 * chunk, 1}, own{2 * chunk, 2, created};
  std::uint64_t needed = broker().up().needed.load();
  std::size_t free = after_a_switch();  // the first hash brings the kernel's code

  static std::size_t after_a_switch() {
    REQUIRE(evict());
    REQUIRE(restore());
    return free_on_card();
  }
  void check() const {
    CHECK(ours.intact());
    CHECK(own.intact());
    CHECK_EQ(broker().up().needed.load(), needed);
    CHECK_EQ(broker().up().resident.load(), needed);
    CHECK_EQ(free_on_card(), free);
  }
};

}  // namespace

ALONE("memory freed while it moves is gone, and the rest is as it was") {
  prepare(32 * mib);
  Beside beside;
  for (const Kind& kind : kinds)
    for (const Way way : {Way::out, Way::in}) {
      CAPTURE(kind.name);
      std::unique_ptr<Memory> victim;
      meanwhile(
          way, [&] { victim = std::make_unique<Memory>(4 * chunk, 3, kind); }, [&] { victim.reset(); },
          [&] { beside.check(); });
    }
}

ALONE("memory allocated while other memory moves is there when the program uses it") {
  prepare(32 * mib);
  Beside beside;
  for (const Kind& kind : kinds)
    for (const Way way : {Way::out, Way::in}) {
      CAPTURE(kind.name);
      std::unique_ptr<Memory> made;
      meanwhile(
          way, [&] { made.reset(); }, [&] { made = std::make_unique<Memory>(4 * chunk, 0, kind); },
          [&] {
            made->fill(7);
            CHECK(made->intact());
            made.reset();
            beside.check();
          });
    }
}

ALONE("a mapping that the program moves while its memory moves shows the same content elsewhere") {
  prepare(32 * mib);
  Beside beside;
  for (const Way way : {Way::out, Way::in}) {
    std::unique_ptr<Memory> memory;
    CUmemGenericAllocationHandle handle = 0;
    meanwhile(
        way,
        [&] {
          memory = std::make_unique<Memory>(2 * chunk, 4, created);
          OK(cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(memory->at())));
        },
        [&] {
          const CUdeviceptr elsewhere = reserve(2 * chunk);
          OK(cuMemUnmap(memory->at(), 2 * chunk));
          OK(cuMemAddressFree(memory->at(), 2 * chunk));
          map(elsewhere, 2 * chunk, handle);
          memory->is_now_at(elsewhere);
        },
        [&] {
          CHECK(memory->intact());
          OK(cuMemRelease(handle));
          memory.reset();
          beside.check();
        });
  }
}

ALONE("memory released while it moves and is mapped nowhere is given back") {
  prepare(32 * mib);
  Beside beside;
  for (const Way way : {Way::out, Way::in}) {
    CUdeviceptr at = 0;
    CUmemGenericAllocationHandle handle = 0;
    meanwhile(
        way,
        [&] {
          at = reserve(4 * chunk);
          handle = create(4 * chunk);
          map(at, 4 * chunk, handle);
          OK(cuMemsetD8_v2(at, 5, 4 * chunk));
          OK(cuCtxSynchronize());
        },
        [&] {
          OK(cuMemUnmap(at, 4 * chunk));
          OK(cuMemRelease(handle));
          OK(cuMemAddressFree(at, 4 * chunk));
        },
        [&] { beside.check(); });
  }
}

}  // namespace lull::residency_test

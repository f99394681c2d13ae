// Another broker in the place of one that has died.
#include "tests/shim/client.h"

using namespace lull;

TEST_CASE("a broker is answered that asks for just what the one before it was told") {
  const Buffer buffer(4 << 20);
  REQUIRE(cuMemsetD32_v2(buffer.at, 7, 1 << 20) == CUDA_SUCCESS);
  broker->first_gate = GateState::closed;
  for (unsigned i = 0; i < 3; ++i) {
    REQUIRE(broker->restart());
    CHECK(broker->reaches(Phase::drained));
    CHECK(comes_true([] { return broker->up().needed.load() >= 4u << 20; }));
  }
  broker->first_gate = GateState::open;
  REQUIRE(broker->restart());
  CHECK(broker->reaches(Phase::running));
  REQUIRE(cuMemsetD32_v2(buffer.at, 8, 1 << 20) == CUDA_SUCCESS);
}

TEST_CASE("a broker of an older or a newer minor version brings back what another one has evicted") {
  const Buffer buffer(4 << 20);
  REQUIRE(cuMemsetD32_v2(buffer.at, 7, 1 << 20) == CUDA_SUCCESS);
  broker->give_backing(64u << 20);
  const std::uint64_t usual_quota = broker->first_quota;
  for (const unsigned minor : {0u, protocol_minor + 5u, unsigned{protocol_minor}}) {
    CAPTURE(minor);
    REQUIRE(broker->evict_to(0));
    broker->minor = static_cast<std::uint16_t>(minor);
    broker->first_gate = GateState::closed, broker->first_quota = 0;
    REQUIRE(broker->restart());
    broker->first_gate = GateState::open, broker->first_quota = usual_quota;
    CHECK(broker->reaches(Phase::drained));
    CHECK(broker->up().resident.load() == 0);
    REQUIRE(broker->restore());
    std::uint32_t word = 0;
    REQUIRE(cuMemcpyDtoH_v2(&word, buffer.at + (4 << 20) - 4, 4) == CUDA_SUCCESS);
    CHECK(word == 7);
  }
}

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

#include "broker/time_use.h"

#include <doctest/doctest.h>

using namespace lull;
using policy::second;

namespace {

policy::Client client(Class klass, GateState gate, policy::Bytes resident = 4) {
  policy::Client c;
  c.klass = klass;
  c.gate = {1, gate};
  c.needed = 4;
  c.resident = resident;
  return c;
}

}  // namespace

TEST_CASE("a trainer's time counts as recovered only beside a connected service, and only while it can run") {
  TimeUse use;
  policy::State state;
  state.clients = {client(Class::training, GateState::open)};
  use.observe(state, 1 * second);
  use.observe(state, 11 * second);  // alone
  CHECK(use.ran(Class::training) == 10 * second);
  CHECK(use.recovered() == 0);

  state.clients.push_back(client(Class::inference, GateState::closed, 0));
  use.observe(state, 31 * second);
  CHECK(use.ran(Class::training) == 30 * second);
  CHECK(use.ran(Class::inference) == 0);
  CHECK(use.recovered() == 20 * second);

  state.clients[0].gate.state = GateState::closed;
  state.clients[1] = client(Class::inference, GateState::open);
  use.observe(state, 36 * second);
  CHECK(use.ran(Class::inference) == 5 * second);
  CHECK(use.recovered() == 20 * second);

  state.clients[0] = client(Class::training, GateState::open, 3);  // its gate is open, its memory still comes
  use.observe(state, 40 * second);
  CHECK(use.ran(Class::training) == 30 * second);
  use.observe(state, 39 * second);  // a clock that does not go on adds nothing
  CHECK(use.ran(Class::inference) == 9 * second);
}

// Every row of hooks.def in a managed process whose gate is closed: what is marked `gated` waits before the driver is
// called and is counted as a submission, what is marked `pass` goes on as if there were no gate, and
// so does what is marked `retried`, which is called again when there is room for its memory.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tests/interpose/rows.h"
#include "tests/interpose/standin/standin.h"
#include "tests/shim/fake_broker.h"

using namespace interpose;
using namespace lull;

namespace {

FakeBroker* broker = nullptr;

void close_gate() {
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
}

std::size_t gated_rows() {
  return static_cast<std::size_t>(std::count_if(rows().begin(), rows().end(), [](const Row& r) { return r.gated(); }));
}

// One thread for each row that submits.
struct Submitter {
  const Row* row;
  Sent sent;
  unsigned long reached = 0;  // calls of the driver's function from this thread
  std::thread thread;

  explicit Submitter(const Row& r) : row(&r) {
    standin_forget(r.symbol.c_str());
    thread = std::thread([this] {
      sent = row->call(row->linked);
      reached = standin_calls_of_this_thread(row->symbol.c_str());
    });
  }
};

}  // namespace

TEST_CASE("every gated function waits at a closed gate, and reaches the driver once when it opens") {
  close_gate();
  const std::uint64_t wants = broker->up().wants.load(), submissions = broker->up().submissions.load();
  std::vector<std::unique_ptr<Submitter>> waiting;
  for (const Row& row : rows())
    if (row.gated()) waiting.push_back(std::make_unique<Submitter>(row));
  CHECK(waiting.size() == gated_rows());
  CHECK_MESSAGE(comes_true([&] { return broker->up().wants.load() == wants + waiting.size(); }),
                "each of them tells the broker that it waits");
  for (const auto& one : waiting) CHECK_MESSAGE(standin_call(one->row->symbol.c_str()).count == 0, one->row->symbol);
  broker->gate(GateState::open);
  for (const auto& one : waiting) {
    one->thread.join();
    CHECK_MESSAGE(one->reached == 1, one->row->symbol);
    CHECK_MESSAGE(one->sent.result == CUDA_SUCCESS, one->row->symbol);
  }
  CHECK_MESSAGE(comes_true([&] { return broker->up().submissions.load() == submissions + waiting.size(); }),
                "each of them counts as one submission");
}

TEST_CASE("a function that passes reaches the driver while the gate is closed, and counts as no submission") {
  close_gate();
  const std::uint64_t wants = broker->up().wants.load(), submissions = broker->up().submissions.load();
  ::alarm(30);  // a row that waits would wait for ever
  for (const Row& row : rows()) {
    if (row.handled() && !row.retried()) continue;
    const unsigned long before = standin_calls_of_this_thread(row.symbol.c_str());
    (void)row.call(row.linked);
    CHECK_MESSAGE(standin_calls_of_this_thread(row.symbol.c_str()) == before + 1, row.symbol);
  }
  ::alarm(0);
  CHECK(broker->up().wants.load() == wants);
  broker->gate(GateState::open);
  // One that is gated shows that the counter has been sampled since.
  CHECK(cuMemsetD8_v2(0x1000, 0, 1) == CUDA_SUCCESS);
  CHECK(comes_true([&] { return broker->up().submissions.load() > submissions; }));
  CHECK(broker->up().submissions.load() == submissions + 1);
}

TEST_CASE("every function that may take native memory is called again when the broker has made room") {
  broker->native_room(std::uint64_t{1} << 40);
  unsigned rows_seen = 0;
  for (const Row& row : rows()) {
    if (!row.retried()) continue;
    ++rows_seen;
    const std::uint64_t wanted = broker->up().native_wanted.load();
    const unsigned long before = standin_calls_of_this_thread(row.symbol.c_str());
    standin_fail_once(row.symbol.c_str(), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK_MESSAGE(row.call(row.linked).result == CUDA_SUCCESS, row.symbol);
    CHECK_MESSAGE(standin_calls_of_this_thread(row.symbol.c_str()) == before + 2, row.symbol);
    CHECK_MESSAGE(broker->up().native_wanted.load() > wanted, row.symbol);
  }
  CHECK(rows_seen > 0);
  broker->no_native_room();
}

TEST_CASE("a stream that does not wait for the legacy stream is asked for its end by the drain, whoever made it") {
  const auto priority = [](CUstream* made) { return cuStreamCreateWithPriority(made, CU_STREAM_NON_BLOCKING, 0); };
  const auto green = [](CUstream* made) { return cuGreenCtxStreamCreate(made, nullptr, CU_STREAM_NON_BLOCKING, 0); };
  const auto plain = [](CUstream* made) { return cuStreamCreate(made, CU_STREAM_NON_BLOCKING); };
  for (CUresult (*create)(CUstream*) : {+plain, +priority, +green}) {
    CUstream made = nullptr;
    CHECK(create(&made) == CUDA_SUCCESS);
    standin_forget("cuStreamQuery");
    close_gate();
    CHECK(standin_call("cuStreamQuery").arguments[0] == reinterpret_cast<std::uint64_t>(made));
    CHECK(cuStreamDestroy_v2(made) == CUDA_SUCCESS);
    broker->gate(GateState::open);
    REQUIRE(broker->reaches(Phase::running));
    standin_forget("cuStreamQuery");
    close_gate();
    CHECK(standin_call("cuStreamQuery").count == 0);  // it has been destroyed
    broker->gate(GateState::open);
  }
}

int main(int argc, char** argv) {
  FakeBroker the_broker;
  broker = &the_broker;
  standin_work();
  CUcontext context = nullptr;
  const bool ready = cuInit(0) == CUDA_SUCCESS && cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS &&
                     comes_true([] { return broker->attached(); });
  int result = 1;
  if (ready) {
    doctest::Context doctest(argc, argv);
    result = doctest.run();
  } else {
    std::fputs("the process is not managed\n", stderr);
  }
  the_broker.leave();
  std::fflush(nullptr);
  ::_exit(result);  // the broker and the shim's threads go with the process
}

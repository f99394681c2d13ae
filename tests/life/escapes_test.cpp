// Threads that leave the gate by other ways than through it, and what they leave behind.
#include <dlfcn.h>
#include <pthread.h>
#include <csetjmp>
#include <csignal>
#include <functional>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

thread_local sigjmp_buf way_out;

// One handler at a time, for the whole program as handlers are.
class Handler {
 public:
  explicit Handler(void (*function)(int)) {
    struct sigaction action {};
    action.sa_handler = function;
    demand(::sigaction(SIGUSR1, &action, &before_) == 0, "a handler can be installed");
  }
  ~Handler() { (void)::sigaction(SIGUSR1, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  struct sigaction before_ {};
};

CUdeviceptr memory() {
  static const CUdeviceptr at = [] {
    CUdeviceptr made = 0;
    (void)context();
    OK(cuMemAlloc_v2(&made, 8 * mib));
    fill(made, 8 * mib, 3);
    return made;
  }();
  return at;
}

void submit() { (void)cuMemsetD8_v2(memory() + 4 * mib, 1, 16); }

void close_gate() {
  (void)memory();
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "the program is paused");
}

struct Start {
  std::function<void()> work;
  std::atomic<bool> ended{false};
};

void* run(void* argument) {
  auto* start = static_cast<Start*>(argument);
  OK(cuCtxSetCurrent(context()));
  start->work();
  start->ended = true;
  return nullptr;
}

// A thread that does `work`, which submits and is thrown out of the gate by `push`; true if it ended by itself.
bool escapes(std::function<void()> work, const std::function<void(pthread_t)>& push) {
  close_gate();
  const std::uint64_t wants = broker().up().wants.load();
  Start start{std::move(work)};
  pthread_t thread;
  demand(::pthread_create(&thread, nullptr, run, &start) == 0, "a thread can be made");
  demand(comes_true([&] { return broker().up().wants.load() > wants; }), "the thread waits at the gate");
  push(thread);
  demand(::pthread_join(thread, nullptr) == 0, "the thread comes to its end");
  return start.ended;
}

void signal_it(pthread_t thread) { (void)::pthread_kill(thread, SIGUSR1); }

// Waits without giving the processor up, so that what follows comes within a microsecond.
template <class Condition>
void spin(unsigned rounds, Condition condition) {
  while (rounds > 0 && !condition()) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    --rounds;
  }
}

// Nobody is taken to be inside: the memory leaves, and comes back as it was; others can submit.
void nothing_is_left_behind() {
  broker().give_backing(64 * mib);
  demand(broker().evict_to(0), "the memory leaves after a thread has left the gate by another way");
  demand(broker().restore(), "the memory comes back");
  demand(intact(memory(), 4 * mib, 3), "its content is the same");
  const std::uint64_t submissions = broker().up().submissions.load();
  submit();
  demand(comes_true([&] { return broker().up().submissions.load() > submissions; }), "others submit as before");
}

}  // namespace

TEST_CASE("a thread that is cancelled while it waits at the gate leaves nothing behind") {
  const bool ended = escapes(
      [] {
        (void)::pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
        submit();
      },
      [](pthread_t thread) { (void)::pthread_cancel(thread); });
  demand(!ended, "it was cancelled at the gate");
  nothing_is_left_behind();
}

TEST_CASE("a thread whose handler ends it while it waits at the gate leaves nothing behind") {
  const Handler handler([](int) { ::pthread_exit(nullptr); });
  demand(!escapes(submit, signal_it), "it ended at the gate");
  nothing_is_left_behind();
}

TEST_CASE("a thread whose handler jumps out of the gate works on, and waits there again") {
  const Handler handler([](int) { ::siglongjmp(way_out, 1); });
  std::atomic<bool> jumped{false};
  const bool ended = escapes(
      [&] {
        if (::sigsetjmp(way_out, 1) == 0) submit();
        jumped = true;
        submit();
      },
      [&](pthread_t thread) {
        const std::uint64_t wants = broker().up().wants.load();
        signal_it(thread);
        demand(comes_true([&] { return jumped && broker().up().wants.load() > wants; }), "it waits at the gate again");
        broker().gate(GateState::open);
      });
  demand(ended, "it goes on when the gate opens");
  nothing_is_left_behind();
}

TEST_CASE("a thread whose handler throws out of the gate works on, and waits there again") {
  const Handler handler([](int) { throw 7; });
  std::atomic<bool> caught{false};
  const bool ended = escapes(
      [&] {
        try {
          submit();
        } catch (int) {
          sigset_t signal;
          sigemptyset(&signal);
          sigaddset(&signal, SIGUSR1);
          (void)::pthread_sigmask(SIG_UNBLOCK, &signal, nullptr);  // the handler never returned
          caught = true;
        }
        submit();
      },
      [&](pthread_t thread) {
        const std::uint64_t wants = broker().up().wants.load();
        signal_it(thread);
        demand(comes_true([&] { return caught && broker().up().wants.load() > wants; }), "it waits at the gate again");
        broker().gate(GateState::open);
      });
  demand(ended, "it goes on when the gate opens");
  nothing_is_left_behind();
}

TEST_CASE("a handler that submits while its thread waits at the gate waits there too, and both go on") {
  const Handler handler([](int) { submit(); });
  const bool ended = escapes(submit, [](pthread_t thread) {
    const std::uint64_t wants = broker().up().wants.load();
    signal_it(thread);
    demand(comes_true([&] { return broker().up().wants.load() > wants; }), "the handler's call waits at the gate");
    broker().gate(GateState::open);
  });
  demand(ended, "both calls go on when the gate opens");
  nothing_is_left_behind();
}

// The handler runs wherever the thread is on its way to its wait: it must hold nobody's lock there, the loader's
// neither.
TEST_CASE("threads whose handlers end them anywhere in the gate's slow path leave no lock behind") {
  const Handler handler([](int) { ::pthread_exit(nullptr); });
  close_gate();
  for (unsigned round = 0; round < 400; ++round) {
    const std::uint64_t wants = broker().up().wants.load();
    Start start{submit};
    pthread_t thread;
    demand(::pthread_create(&thread, nullptr, run, &start) == 0, "a thread can be made");
    spin(100'000'000, [&] { return broker().up().wants.load() > wants; });
    spin(round * 8, [] { return false; });
    signal_it(thread);
    demand(::pthread_join(thread, nullptr) == 0, "the thread comes to its end");
  }
  demand(::dlsym(RTLD_DEFAULT, "cuInit") != nullptr, "the loader answers");
  broker().gate(GateState::open);
  nothing_is_left_behind();
}

TEST_CASE("waiting at the gate leaves the program's dlerror alone") {
  std::atomic<bool> right{false};
  submit();  // a function's first call opens and finds the driver, as any first call of another library does
  const bool ended = escapes(
      [&] {
        (void)::dlerror();
        (void)::dlsym(RTLD_DEFAULT, "no_such_function");
        submit();
        const char* error = ::dlerror();
        right = error && std::string_view(error).find("no_such_function") != std::string_view::npos;
        submit();
        right = right && ::dlerror() == nullptr;
      },
      [](pthread_t) { broker().gate(GateState::open); });
  demand(ended && right, "the program reads its own failure, and no other");
}

TEST_CASE("a thousand threads that end at once after their work are forgotten") {
  for (unsigned round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 50; ++i)
      threads.emplace_back([] {
        OK(cuCtxSetCurrent(context()));
        submit();
      });
    for (auto& thread : threads) thread.join();
  }
  nothing_is_left_behind();
}

TEST_CASE("a primary context that is reset while its memory is away takes it along") {
  broker().give_backing(64 * mib);
  (void)memory();
  demand(broker().evict_to(0), "the memory leaves");
  OK(cuDevicePrimaryCtxReset_v2(0));
  demand(broker().up().needed.load() == 0, "nothing of it is needed any more");
  CUcontext next = nullptr;
  OK(cuDevicePrimaryCtxRetain(&next, 0));
  OK(cuCtxSetCurrent(next));
  CUdeviceptr at = 0;
  demand(broker().restore(), "nothing is waited for");
  OK(cuMemAlloc_v2(&at, 8 * mib));
  fill(at, 8 * mib, 5);
  demand(broker().evict_to(0) && broker().restore() && intact(at, 8 * mib, 5), "memory of the next context moves");
}

}  // namespace lull::hazards

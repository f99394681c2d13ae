// Many threads launch while the gate closes and opens and their memory leaves and comes back, thousands of times. At
// the end the driver has reported no error, the journal shows no launch into memory that was away and none at a shut
// gate, and every thread's words have been counted up once by each of its launches.
//
//   gate-cycles THREADS LAUNCHES CYCLES      with the shim preloaded; LULL_GATE_CYCLES_DIR: where the journal goes
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "tests/driver/journal/journal.h"
#include "tests/gate_cycles/journal_proof.h"
#include "tests/random/dice.h"
#include "tests/shim/fake_broker.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

namespace lull::gate_cycles {
namespace {

constexpr std::size_t chunk = 2u << 20;  // of a card as small as this one
constexpr unsigned chunks = 2, streams_most = 8;

std::string card_path, journal_path;
FakeBroker* the_broker = nullptr;

void clean_up() {
  if (the_broker) the_broker->leave();
  (void)::unlink(card_path.c_str());
  (void)::unlink(journal_path.c_str());
}

// A run that fails has threads that wait for what will not happen: it ends at once.
[[noreturn]] void fail(const std::string& sentence) {
  std::fprintf(stderr, "gate-cycles: %s\n", sentence.c_str());
  clean_up();
  ::_exit(1);
}

void demand(bool holds, const std::string& sentence) {
  if (!holds) fail(sentence);
}

void ok(CUresult result, const char* call) {
  demand(result == CUDA_SUCCESS, std::string(call) + " -> " + std::to_string(result));
}
#define OK(call) ok(call, #call)

// One thread of the card adds one to a word in each of the two chunks: whichever is away, a launch would meet it.
constexpr char count_ptx[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry count(.param .u64 one, .param .u64 other)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [one];
  ld.param.u64 %rd2, [other];
  ld.global.u32 %r1, [%rd1];
  ld.global.u32 %r2, [%rd2];
  add.u32 %r1, %r1, 1;
  add.u32 %r2, %r2, 1;
  st.global.u32 [%rd1], %r1;
  st.global.u32 [%rd2], %r2;
  ret;
}
)";

struct Card {
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction count = nullptr;
  CUdeviceptr memory[chunks] = {};
  std::vector<CUstream> streams;
};

Card prepare(unsigned threads) {
  Card card;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&card.context, 0));
  OK(cuCtxSetCurrent(card.context));
  OK(cuModuleLoadData(&card.module, count_ptx));
  OK(cuModuleGetFunction(&card.count, card.module, "count"));
  for (CUdeviceptr& memory : card.memory) {
    OK(cuMemAlloc_v2(&memory, chunk));
    OK(cuMemsetD32_v2(memory, 0, chunk / 4));
  }
  OK(cuCtxSynchronize());  // the streams below wait for no other
  card.streams.resize(std::min(threads, streams_most));
  for (CUstream& stream : card.streams) OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  return card;
}

// A thread that launches until it is told to stop, always on the same stream and with words of its own.
class Worker {
 public:
  Worker(const Card& card, unsigned number, const std::atomic<bool>& stop)
      : card_(card), number_(number), stop_(stop), thread_([this] { run(); }) {}
  std::uint64_t launches() const { return launches_.load(std::memory_order_relaxed); }
  std::uint64_t finish() {
    thread_.join();
    return launches();
  }

 private:
  void run() {
    OK(cuCtxSetCurrent(card_.context));
    const CUstream stream = card_.streams[number_ % card_.streams.size()];
    CUdeviceptr one = card_.memory[0] + 4 * number_, other = card_.memory[1] + 4 * number_;
    void* parameters[] = {&one, &other};
    while (!stop_) {
      const CUresult launched = cuLaunchKernel(card_.count, 1, 1, 1, 1, 1, 1, 0, stream, parameters, nullptr);
      if (launched != CUDA_SUCCESS) fail("a launch into memory that was not there: error " + std::to_string(launched));
      launches_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  const Card& card_;
  const unsigned number_;
  const std::atomic<bool>& stop_;
  std::atomic<std::uint64_t> launches_{0};
  std::thread thread_;
};

struct Turns {
  unsigned pauses = 0, evictions = 0, gate_first = 0;
};

// Closes the gate, mostly takes memory away, and gives all back: quota first, or gate first, when the hold alone keeps
// the threads away from what has not come back.
class Cycles {
 public:
  explicit Cycles(FakeBroker& broker) : broker_(broker) {}

  void turn() {
    broker_.gate(GateState::closed);
    follows(broker_.reaches(Phase::drained), "the program is not drained in time");
    mark("drained");
    ++turns_.pauses;
    const bool evicts = !dice_.one_in(8), gate_first = evicts && dice_.one_in(2);
    if (evicts) evict();
    mark("opening");
    if (gate_first) ++turns_.gate_first, broker_.gate(GateState::open);
    if (evicts) restore();
    if (!gate_first) broker_.gate(GateState::open);
  }
  const Turns& turns() const { return turns_; }

 private:
  // A fault leaves an error in the context, and then nothing comes about any more.
  static void follows(bool came_about, const char* sentence) {
    if (came_about) return;
    const CUresult error = cuCtxSynchronize();
    demand(error == CUDA_SUCCESS, "a launch into memory that was not there: the driver says " + std::to_string(error));
    fail(sentence);
  }
  void mark(const char* text) {
    demand(sim::mark_journal(journal_path, text, static_cast<std::int32_t>(turns_.pauses)), "no mark can be written");
  }
  void evict() {
    const std::uint64_t left = dice_.one_in(2) ? 0 : chunk;
    broker_.quota(left);
    follows(comes_true([&] { return broker_.up().resident.load() <= left; }), "the memory does not leave in time");
    ++turns_.evictions;
  }
  void restore() {
    broker_.quota(~0ull >> 1);
    follows(comes_true([&] { return broker_.up().resident.load() == broker_.up().needed.load(); }),
            "the memory does not come back in time");
  }

  FakeBroker& broker_;
  random::Dice dice_{20};
  Turns turns_;
};

// So many launches lie before each closing that all are made when the last gate has opened.
Turns run_cycles(const std::vector<std::unique_ptr<Worker>>& workers, std::uint64_t launches, unsigned count) {
  const auto so_far = [&] {
    std::uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->launches();
    return sum;
  };
  Cycles cycles(*the_broker);
  for (unsigned i = 1; i <= count; ++i) {
    const std::uint64_t before = so_far(), due = launches * i / count;
    demand(comes_true([&] { return so_far() > before && so_far() >= due; }, 30),
           "launches do not go on at an open gate");
    cycles.turn();
  }
  return cycles.turns();
}

void check_words(const Card& card, const std::vector<std::uint64_t>& launches) {
  for (const CUdeviceptr memory : card.memory) {
    std::vector<std::uint32_t> words(launches.size());
    OK(cuMemcpyDtoH_v2(words.data(), memory, 4 * words.size()));
    for (std::size_t i = 0; i < words.size(); ++i)
      demand(words[i] == launches[i], "thread " + std::to_string(i) + " made " + std::to_string(launches[i]) +
                                          " launches, its word says " + std::to_string(words[i]));
  }
}

void check_journal(const Card& card, std::uint64_t launches, const Turns& turns) {
  const Proof proof = prove(journal_path, reinterpret_cast<std::uint64_t>(card.count));
  std::printf(
      "journal: %llu launches, %llu kernels, memory away %llu times, gate shut %llu times; %llu into memory "
      "that was away, %llu at a shut gate, %llu failed\n",
      static_cast<unsigned long long>(proof.launches), static_cast<unsigned long long>(proof.kernels),
      static_cast<unsigned long long>(proof.absences), static_cast<unsigned long long>(proof.shut),
      static_cast<unsigned long long>(proof.into_absent), static_cast<unsigned long long>(proof.at_shut),
      static_cast<unsigned long long>(proof.failed));
  demand(proof.into_absent == 0 && proof.at_shut == 0 && proof.failed == 0,
         "a launch into memory that was not there, or at a shut gate: " + proof.first);
  demand(proof.launches == launches && proof.kernels == launches, "the journal has not every launch");
  demand(proof.absences >= turns.evictions && proof.shut == turns.pauses, "the journal has not every cycle");
}

int run(unsigned threads, std::uint64_t launches, unsigned cycles) {
  FakeBroker broker;
  the_broker = &broker;
  const auto began = std::chrono::steady_clock::now();
  const Card card = prepare(threads);
  demand(comes_true([&] { return broker.attached(); }), "the process is not attached to its broker");
  broker.give_backing(2 * chunks * chunk);
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < threads; ++i) workers.push_back(std::make_unique<Worker>(card, i, stop));
  const Turns turns = run_cycles(workers, launches, cycles);
  stop = true;
  std::vector<std::uint64_t> made;
  std::uint64_t all = 0;
  for (auto& worker : workers) all += made.emplace_back(worker->finish());
  const CUresult end = cuCtxSynchronize();
  demand(end == CUDA_SUCCESS, "a launch into memory that was not there: the driver says " + std::to_string(end));
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf(
      "%llu launches by %u threads through %u cycles, %u of them with an eviction, %u with the gate open before "
      "the memory was back, in %.0f s\n",
      static_cast<unsigned long long>(all), threads, turns.pauses, turns.evictions, turns.gate_first, seconds);
  check_journal(card, all, turns);
  check_words(card, made);
  std::printf("no launch into memory that was not there\n");
  std::fflush(stdout);
  clean_up();
  ::_exit(0);  // the shim's threads go with the process
}

}  // namespace
}  // namespace lull::gate_cycles

int main(int argc, char** argv) {
  using namespace lull::gate_cycles;
  const auto number = [&](int i) { return i < argc ? std::strtoull(argv[i], nullptr, 10) : 0; };
  if (argc != 4 || !number(1) || !number(2) || !number(3)) {
    std::fprintf(stderr, "usage: gate-cycles THREADS LAUNCHES CYCLES\n");
    return 2;
  }
  const char* directory = std::getenv("LULL_GATE_CYCLES_DIR");
  const std::string own = "lull-gate-cycles-" + std::to_string(::getpid());
  card_path = "/dev/shm/" + own;
  journal_path = (directory ? std::filesystem::path(directory) : std::filesystem::temp_directory_path()) / own;
  (void)::setenv("LULL_SIM_POOL", card_path.c_str(), 1);
  (void)::setenv("LULL_SIM_JOURNAL", journal_path.c_str(), 1);
  return run(static_cast<unsigned>(number(1)), number(2), static_cast<unsigned>(number(3)));
}

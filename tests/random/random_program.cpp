// Runs random programs and prints what each met:  random-program FIRST COUNT [STEPS [SKIP...]]
// A program is its seed; SKIP names steps to leave out, which changes no other step's throws.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <thread>

#include "tests/random/actor.h"

namespace lull::random {
namespace {

const std::vector<Operation>& every_operation() {
  static const auto all = [] {
    std::vector<Operation> list;
    for (const auto* part : {&memory_operations, &own_memory_operations, &data_operations, &stream_operations,
                             &graph_operations, &code_operations, &context_operations, &misuse_operations}) {
      list.insert(list.end(), part->begin(), part->end());
    }
    return list;
  }();
  return all;
}

const Operation& some_operation(Dice& dice) {
  unsigned total = 0;
  for (const Operation& operation : every_operation()) total += operation.weight;
  std::uint64_t left = dice.below(total);
  for (const Operation& operation : every_operation()) {
    if (left < operation.weight) return operation;
    left -= operation.weight;
  }
  return every_operation().front();
}

void act(Actor& actor, std::uint64_t seed, unsigned steps, const std::set<unsigned>& skipped) {
  for (unsigned step = 0; step < steps; ++step) {
    const unsigned name = actor.number * steps + step;
    if (skipped.contains(name)) continue;
    Dice dice(seed * 1'000'003 + name);
    const Operation& operation = some_operation(dice);
    actor.begin(name, operation.name);
    operation.run(actor, dice);
  }
  actor.begin((actor.number + 1) * steps, "end");
  for (Buffer& buffer : actor.buffers) actor.say("b{} holds {:016x}", buffer.number, actor.contents(buffer));
}

// Half of the programs are one thread, the others two or three; some live in the primary context.
void run(std::uint64_t seed, unsigned steps, const std::set<unsigned>& skipped) {
  Dice dice(seed);
  const unsigned threads = dice.one_in(2) ? 1 : static_cast<unsigned>(dice.between(2, 3));
  const bool primary = dice.one_in(4);
  CUcontext context = nullptr;
  const CUresult made = primary ? cuDevicePrimaryCtxRetain(&context, 0) : cuCtxCreate_v2(&context, 0, 0);
  std::printf("program %llu, %u threads%s -> %d\n", static_cast<unsigned long long>(seed), threads,
              primary ? ", primary" : "", made);
  std::vector<std::unique_ptr<Actor>> actors;
  for (unsigned i = 0; i < threads; ++i) actors.push_back(std::make_unique<Actor>(context, i, threads == 1));
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) {
    others.emplace_back([&, i] {
      (void)cuCtxSetCurrent(context);
      act(*actors[i], seed, steps, skipped);
    });
  }
  act(*actors[0], seed, steps, skipped);
  for (std::thread& other : others) other.join();
  for (const auto& actor : actors) std::fputs(actor->account().c_str(), stdout);
  const CUresult synchronised = cuCtxSynchronize();
  for (const auto& actor : actors) {  // reservations are the process's, not the context's
    for (const Buffer& buffer : actor->buffers) {
      if (buffer.origin != Origin::mapped) continue;
      (void)cuMemUnmap(buffer.at, buffer.bytes);
      (void)cuMemAddressFree(buffer.at, buffer.bytes);
    }
    for (const Buffer& buffer : actor->buffers) {
      if (buffer.origin == Origin::stream_ordered) (void)cuMemFree_v2(buffer.at);
    }
  }
  actors.clear();
  const CUresult ended = primary ? cuDevicePrimaryCtxReset_v2(0) : cuCtxDestroy_v2(context);
  if (primary) (void)cuDevicePrimaryCtxRelease_v2(0);
  // A handle left on the stack could be the next context's, or not, as the heap will have it.
  for (CUcontext left = context; left;)
    if (cuCtxPopCurrent_v2(&left) != CUDA_SUCCESS) left = nullptr;
  std::printf("  synchronise -> %d, end -> %d\n", synchronised, ended);
  std::fflush(stdout);
}

}  // namespace
}  // namespace lull::random

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: random-program FIRST COUNT [STEPS [SKIP...]]\n");
    return 2;
  }
  const std::uint64_t first = std::strtoull(argv[1], nullptr, 10), count = std::strtoull(argv[2], nullptr, 10);
  const unsigned steps = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 40;
  std::set<unsigned> skipped;
  for (int i = 4; i < argc; ++i) skipped.insert(static_cast<unsigned>(std::atoi(argv[i])));
  if (const CUresult failed = cuInit(0)) {
    std::fprintf(stderr, "cuInit -> %d\n", failed);
    return 1;
  }
  for (std::uint64_t seed = first; seed < first + count; ++seed) lull::random::run(seed, steps, skipped);
}

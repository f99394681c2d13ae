// What stays on the card beside memory that moves; and what the driver's own checkpoint makes of a process whose memory
// has left already.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

#include "broker/units.h"
#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

std::string in_mib(double bytes) { return fmt::format("{:.0f} MiB", bytes / static_cast<double>(mib)); }

}  // namespace

FACT(residue, "", "How much of the card does a context take, a stream, a module, a graph?") {
  // A second process looks on: what is free cannot be asked before there is a context.
  Other worker([](const Other::Line& line) {
    line(0);
    const Card card;
    line(1);
    Spinner spinner;
    const auto stream = make_stream();
    spinner.submit_empty(stream);
    spinner.wait(stream);
    line(2);
    for (int i = 0; i < 16; ++i) (void)make_stream();
    line(3);
    CUgraph graph = nullptr;
    CUgraphExec executable = nullptr;
    OK(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    for (int i = 0; i < 1000; ++i) spinner.submit_empty(stream);
    OK(cuStreamEndCapture, stream, &graph);
    OK(cuGraphInstantiate, &executable, graph, 0);
    OK(cuGraphLaunch, executable, stream);
    OK(cuStreamSynchronize, stream);
    line(4);
  });
  (void)worker.hear();
  const Card card;
  double before = static_cast<double>(card.free_bytes());
  const char* steps[] = {"context_bytes", "first_module_and_launch_bytes", "16_streams_bytes",
                         "graph_of_1000_kernels_bytes"};
  for (const char* step : steps) {
    worker.say(0);
    (void)worker.hear();
    const double free = static_cast<double>(card.free_bytes());
    fact.figures[step] = before - free;
    before = free;
  }
  fact.sentence =
      fmt::format("a context {}, the first module and launch {} more, 16 streams {}, a graph of 1000 kernels {}",
                  in_mib(fact.figures[steps[0]].get<double>()), in_mib(fact.figures[steps[1]].get<double>()),
                  in_mib(fact.figures[steps[2]].get<double>()), in_mib(fact.figures[steps[3]].get<double>()));
}

#if CUDA_VERSION >= 12080
// Small, and the process is never killed after it has been restored: that has been seen to hang drivers.
FACT(checkpoint, "E6", "Does the driver checkpoint a process whose mapped memory has left, and bring it back?") {
  constexpr double ok = 1, wrong = 2;
  Other worker(
      [&](const Other::Line& line) {
        const Card card;
        Mapped memory(card, card.granularity, card.granularity);
        CUdeviceptr plain = 0;
        OK(cuMemAlloc, &plain, mib);
        OK(cuMemsetD32, plain, 0x1234567, mib / 4);
        OK(cuCtxSynchronize);
        memory.unmap();
        line(static_cast<double>(::getpid()));
        memory.map();
        std::uint32_t word = 0;
        OK(cuMemsetD32, memory.at(), 7, 4);
        OK(cuMemcpyDtoH, &word, plain, sizeof word);
        line(word == 0x1234567 ? ok : wrong);
      },
      Other::Ends::by_itself);
  const int pid = static_cast<int>(worker.hear());
  const Card card;
  const double before = static_cast<double>(card.free_bytes());
  const auto step = [&](const char* name, const auto& call) {
    const double begin = now();
    const CUresult result = call();
    fact.figures[name] = {{"answer", name_of(result)}, {"took_ms", (now() - begin) * 1e3}};
    return result == CUDA_SUCCESS;
  };
  CUcheckpointLockArgs lock{};
  lock.timeoutMs = 10'000;
  if (!step("lock", [&] { return CU(cuCheckpointProcessLock)(pid, &lock); })) {
    fact.sentence = fmt::format("no: lock answers {}", fact.figures["lock"]["answer"].get<std::string>());
    return;
  }
  CUcheckpointCheckpointArgs save{};
  const bool saved = step("checkpoint", [&] { return CU(cuCheckpointProcessCheckpoint)(pid, &save); });
  fact.figures["freed_bytes"] = static_cast<double>(card.free_bytes()) - before;
  CUcheckpointRestoreArgs restore{};
  const bool restored = saved && step("restore", [&] { return CU(cuCheckpointProcessRestore)(pid, &restore); });
  CUcheckpointUnlockArgs unlock{};
  const bool unlocked = step("unlock", [&] { return CU(cuCheckpointProcessUnlock)(pid, &unlock); });
  double content = 0;
  if (unlocked && (restored || !saved)) {
    worker.say(0);
    content = worker.hear();
  }
  fact.figures["content_is_right_and_memory_maps_again"] = content == ok;
  // It ends without anything on the card, for the end of a restored process is what has hung drivers.
  if (restored && unlocked && step("lock_again", [&] { return CU(cuCheckpointProcessLock)(pid, &lock); }))
    (void)step("checkpoint_again", [&] { return CU(cuCheckpointProcessCheckpoint)(pid, &save); });
  fact.sentence = restored && content == ok ? fmt::format("yes: {} were freed, restored in {:.0f} ms",
                                                          in_mib(fact.figures["freed_bytes"].get<double>()),
                                                          fact.figures["restore"]["took_ms"].get<double>())
                                            : "not all of it: see the answers";
}
#endif

}  // namespace lull::facts

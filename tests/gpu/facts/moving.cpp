// What moving memory does to what refers to it; what telling changed memory costs; what mapped memory costs all the
// time.
#include <fmt/format.h>

#include <algorithm>

#include "broker/units.h"
#include "shim/hash_kernel.h"
#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {}  // namespace

FACT(hash_rate, "E8", "How fast does the hash kernel read, beside a copy on the card?") {
  const Card card;
  CUmodule module = nullptr;
  CUfunction hash = nullptr;
  OK(cuModuleLoadData, &module, hash_kernel_text);
  OK(cuModuleGetFunction, &hash, module, hash_kernel_name);
  const std::size_t bytes = card.share(fact.quick ? 2 * mib : 1024 * mib);
  CUdeviceptr data = 0, copy = 0, results = 0;
  OK(cuMemAlloc, &data, bytes);
  OK(cuMemAlloc, &copy, bytes);
  OK(cuMemAlloc, &results, hash_most_blocks * hash_result_words * 8);
  OK(cuMemsetD32, data, 0x9e3779b9, bytes / 4);
  const auto stream = make_stream();
  std::uint64_t pairs = bytes / 16, seed = 1;
  void* arguments[] = {&data, &pairs, &seed, &results};
  const auto timed = [&](const auto& submit) {
    double took = 1e9;
    for (int i = 0; i < (fact.quick ? 1 : 10); ++i) {
      const double begin = now();
      submit();
      OK(cuStreamSynchronize, stream);
      took = std::min(took, now() - begin);
    }
    return took;
  };
  json by_blocks = json::object();
  double hashing = 1e9;
  for (const unsigned blocks : {64u, 256u, hash_most_blocks}) {
    const double took =
        timed([&] { OK(cuLaunchKernel, hash, blocks, 1, 1, hash_threads, 1, 1, 0, stream, arguments, nullptr); });
    by_blocks[std::to_string(blocks)] = static_cast<double>(bytes) / took;
    hashing = std::min(hashing, took);
  }
  const double copying = timed([&] { OK(cuMemcpyDtoDAsync, copy, data, bytes, stream); });
  fact.figures = {{"bytes", bytes},
                  {"hash_bytes_per_s", static_cast<double>(bytes) / hashing},
                  {"hash_bytes_per_s_by_blocks", by_blocks},
                  {"copy_on_card_bytes_per_s", static_cast<double>(bytes) / copying}};
  fact.sentence = fmt::format("it reads {:.0f} GB/s; a copy on the card reads and writes {:.0f} GB/s each",
                              static_cast<double>(bytes) / hashing / 1e9, static_cast<double>(bytes) / copying / 1e9);
}

FACT(remapping, "E7", "What survives when memory leaves and comes back at the same address?") {
  const Card card;
  const std::size_t bytes = card.granularity;
  Mapped memory(card, bytes, bytes);
  const auto stream = make_stream();
  unsigned on = 1;
  const CUresult set = CU(cuPointerSetAttribute)(&on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, memory.at());
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  OK(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  OK(cuMemsetD32Async, memory.at(), 77, bytes / 4, stream);
  OK(cuStreamEndCapture, stream, &graph);
  OK(cuGraphInstantiate, &executable, graph, 0);
  OK(cuGraphLaunch, executable, stream);
  OK(cuStreamSynchronize, stream);
  memory.unmap();
  memory.map();
  unsigned sync_after = 0;
  const CUresult asked = CU(cuPointerGetAttribute)(&sync_after, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, memory.at());
  OK(cuMemsetD32, memory.at(), 0, bytes / 4);
  OK(cuStreamSynchronize, nullptr);  // the graph's stream does not wait for the legacy one
  OK(cuGraphLaunch, executable, stream);
  OK(cuStreamSynchronize, stream);
  std::uint32_t last = 0;
  OK(cuMemcpyDtoH, &last, memory.at() + bytes - 4, 4);
  fact.figures = {{"set_sync_memops", name_of(set)},
                  {"sync_memops_afterwards", asked == CUDA_SUCCESS ? json(sync_after) : json(name_of(asked))},
                  {"graph_works_afterwards", last == 77}};
  fact.sentence = fmt::format("a graph made before {}; SYNC_MEMOPS is {} afterwards",
                              last == 77 ? "still writes there" : "no longer writes there",
                              sync_after == 1 ? "still set" : "not set");
}

FACT(graph_memory, "E7", "Does a graph's own memory come back after it has been trimmed?") {
  const Card card;
  const auto stream = make_stream();
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  CUdeviceptr inside = 0;
  OK(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  OK(cuMemAllocAsync, &inside, 4 * mib, stream);
  OK(cuMemsetD32Async, inside, 5, mib, stream);
  OK(cuMemFreeAsync, inside, stream);
  OK(cuStreamEndCapture, stream, &graph);
  OK(cuGraphInstantiate, &executable, graph, 0);
  OK(cuGraphLaunch, executable, stream);
  OK(cuStreamSynchronize, stream);
  const auto reserved = [&] {
    cuuint64_t bytes = 0;
    OK(cuDeviceGetGraphMemAttribute, card.device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &bytes);
    return bytes;
  };
  const auto before = reserved();
  OK(cuDeviceGraphMemTrim, card.device);
  const auto trimmed = reserved();
  OK(cuGraphLaunch, executable, stream);
  const CUresult again = CU(cuStreamSynchronize)(stream);
  fact.figures = {{"reserved_bytes", before}, {"after_trimming_bytes", trimmed}, {"launched_again", name_of(again)}};
  fact.sentence = fmt::format("{} MiB reserved, {} after trimming, and the graph {}", before / mib, trimmed / mib,
                              again == CUDA_SUCCESS ? "runs again" : "does not run again");
}

FACT(steady_overhead, "E10", "Does a kernel run slower on mapped memory than on memory of cuMemAlloc?") {
  const Card card;
  const auto stream = make_stream();
  const std::size_t bytes = card.share(fact.quick ? 2 * mib : 1024 * mib);
  const std::size_t handle = std::max(card.granularity, std::min<std::size_t>(bytes, 32 * mib));
  CUdeviceptr plain = 0;
  OK(cuMemAlloc, &plain, bytes / handle * handle);
  const Mapped mapped(card, bytes, handle);
  CUmodule module = nullptr;
  CUfunction hash = nullptr;
  OK(cuModuleLoadData, &module, hash_kernel_text);
  OK(cuModuleGetFunction, &hash, module, hash_kernel_name);
  CUdeviceptr results = 0;
  OK(cuMemAlloc, &results, hash_most_blocks * hash_result_words * 8);
  const auto rate = [&](CUdeviceptr at) {
    std::uint64_t pairs = mapped.bytes() / 16, seed = 1;
    void* arguments[] = {&at, &pairs, &seed, &results};
    std::vector<double> all;
    for (int i = 0; i < (fact.quick ? 1 : 20); ++i) {
      const double begin = now();
      OK(cuLaunchKernel, hash, 256, 1, 1, hash_threads, 1, 1, 0, stream, arguments, nullptr);
      OK(cuStreamSynchronize, stream);
      all.push_back(now() - begin);
    }
    return static_cast<double>(mapped.bytes()) / best(all);
  };
  OK(cuMemsetD32, plain, 1, mapped.bytes() / 4);
  OK(cuMemsetD32, mapped.at(), 1, mapped.bytes() / 4);
  const double native = rate(plain), moved = rate(mapped.at()), native_again = rate(plain);
  fact.figures = {{"bytes", mapped.bytes()},
                  {"handle_bytes", handle},
                  {"cuMemAlloc_bytes_per_s", std::max(native, native_again)},
                  {"mapped_bytes_per_s", moved}};
  fact.sentence = fmt::format("a kernel that only reads is {:.3f} times as fast on mapped memory",
                              moved / std::max(native, native_again));
}

}  // namespace lull::facts

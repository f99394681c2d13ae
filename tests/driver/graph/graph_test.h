// What the cases about graphs share: a buffer of words, and nodes that do something to it.
#pragma once
#include <atomic>

#include "tests/driver/testing/test_support.h"

namespace lull::sim::test {

inline constexpr std::uint32_t words_in_buffer = 64;

struct Buffer {
  Buffer() {
    OK(cuMemAlloc_v2(&at, bytes));
    OK(cuMemsetD32_v2(at, 0, words_in_buffer));
    OK(cuCtxSynchronize());
  }
  ~Buffer() { (void)cuMemFree_v2(at); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::uint32_t word() const {
    std::uint32_t value = 0;
    OK(cuMemcpyDtoH_v2(&value, at, 4));
    return value;
  }
  static constexpr std::size_t bytes = words_in_buffer * 4;
  CUdeviceptr at = 0;
};

struct TestGraph {
  TestGraph() { OK(cuGraphCreate(&handle, 0)); }
  ~TestGraph() { (void)cuGraphDestroy(handle); }
  TestGraph(const TestGraph&) = delete;
  TestGraph& operator=(const TestGraph&) = delete;

  using Nodes = std::vector<CUgraphNode>;
  CUgraphNode empty(const Nodes& behind = {}) const {
    CUgraphNode node = nullptr;
    OK(cuGraphAddEmptyNode(&node, handle, behind.data(), behind.size()));
    return node;
  }
  CUgraphNode fill(const Buffer& buffer, std::uint32_t value, const Nodes& behind = {}) const {
    const auto parameters = fill_parameters(buffer, value);
    CUgraphNode node = nullptr;
    OK(cuGraphAddMemsetNode(&node, handle, behind.data(), behind.size(), &parameters, nullptr));
    return node;
  }
  CUgraphNode add_one(CUfunction function, Buffer& buffer, const Nodes& behind = {}) const {
    std::uint32_t n = words_in_buffer;
    void* arguments[] = {&buffer.at, &n};
    const auto parameters = kernel_parameters(function, arguments);
    CUgraphNode node = nullptr;
    OK(cuGraphAddKernelNode_v2(&node, handle, behind.data(), behind.size(), &parameters));
    return node;
  }
  CUgraphNode call(CUhostFn function, void* data, const Nodes& behind = {}) const {
    const CUDA_HOST_NODE_PARAMS parameters{function, data};
    CUgraphNode node = nullptr;
    OK(cuGraphAddHostNode(&node, handle, behind.data(), behind.size(), &parameters));
    return node;
  }
  static CUDA_MEMSET_NODE_PARAMS fill_parameters(const Buffer& buffer, std::uint32_t value) {
    return {buffer.at, 0, value, 4, words_in_buffer, 1};
  }
  static CUDA_KERNEL_NODE_PARAMS kernel_parameters(CUfunction function, void** arguments) {
    return {function, 1, 1, 1, words_in_buffer, 1, 1, 0, arguments, nullptr, nullptr, nullptr};
  }
  std::size_t size() const {
    std::size_t count = 0;
    OK(cuGraphGetNodes(handle, nullptr, &count));
    return count;
  }
  CUgraph handle = nullptr;
};

struct Exec {
  explicit Exec(CUgraph graph, unsigned long long flags = 0) { OK(cuGraphInstantiateWithFlags(&handle, graph, flags)); }
  ~Exec() { (void)cuGraphExecDestroy(handle); }
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;
  void run(CUstream stream = nullptr) const {
    OK(cuGraphLaunch(handle, stream));
    OK(cuStreamSynchronize(stream));
  }
  CUgraphExec handle = nullptr;
};

inline CUDA_MEMCPY3D row_copy(CUdeviceptr to, const void* from, std::size_t bytes) {
  CUDA_MEMCPY3D copy{};
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = from;
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = to;
  copy.WidthInBytes = bytes;
  copy.Height = copy.Depth = 1;
  return copy;
}

inline CUevent new_event(unsigned flags = CU_EVENT_DISABLE_TIMING) {
  CUevent event = nullptr;
  OK(cuEventCreate(&event, flags));
  return event;
}

}  // namespace lull::sim::test

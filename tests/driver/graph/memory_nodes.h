// Nodes that allocate and free. The address of an allocation is fixed when its node is made; whether there is an
// allocation is decided in the order of calls: a launch begins those of its graph, a free ends one, by whatever call.
#pragma once
#include "tests/driver/graph/graph.h"

namespace lull::sim {

class AllocOperation : public Operation {
 public:
  // Null: no address is left. Its address goes with it.
  static std::shared_ptr<const AllocOperation> make(Device& device, const CUDA_MEM_ALLOC_NODE_PARAMS& parameters);
  AllocOperation(Device& device, const CUDA_MEM_ALLOC_NODE_PARAMS& parameters)
      : device_(device), parameters_(parameters) {}
  ~AllocOperation() override;
  AllocOperation(const AllocOperation&) = delete;
  AllocOperation& operator=(const AllocOperation&) = delete;
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_MEM_ALLOC; }
  CUresult run(Running&) const override;
  const CUDA_MEM_ALLOC_NODE_PARAMS& parameters() const { return parameters_; }
  Device& device() const { return device_; }

 private:
  Device& device_;
  CUDA_MEM_ALLOC_NODE_PARAMS parameters_;
};

class FreeOperation : public Operation {
 public:
  explicit FreeOperation(CUdeviceptr address) : address_(address) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_MEM_FREE; }
  CUresult run(Running&) const override;
  CUdeviceptr address() const { return address_; }

 private:
  CUdeviceptr address_;
};

// cuMemAllocAsync and cuMemFreeAsync of a stream that captures.
CUresult capture_allocation(Stream& stream, std::size_t bytes, CUdeviceptr* out);
CUresult capture_free(Stream& stream, CUdeviceptr address);

// A free outside of graphs. False: no launch has allocated it since it was last freed.
bool end_graph_allocation(CUdeviceptr address);

// The allocations and frees of one launch, in the order of the calls. 1 if what it allocates is still allocated and may
// not be freed by the launch itself, or if it frees what is not; 2 if the card has not as much.
CUresult begin_launch(const std::vector<OperationPtr>& in_order, bool auto_free);

}  // namespace lull::sim

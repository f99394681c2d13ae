// The memory operations of streams: write a word, wait for a word, barriers; one of them or a batch in order.
#pragma once
#include <span>
#include <vector>

#include "tests/driver/stream/operation.h"

namespace lull::sim {

enum class MemoryOpVersion { v1, v2 };  // v1 knows writes without a barrier, v2 barriers alone

class MemoryOperation : public Operation {
 public:
  explicit MemoryOperation(std::vector<CUstreamBatchMemOpParams> batch) : batch_(std::move(batch)) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_BATCH_MEM_OP; }
  CUresult run(Running&) const override;
  const std::vector<CUstreamBatchMemOpParams>& batch() const { return batch_; }

 private:
  std::vector<CUstreamBatchMemOpParams> batch_;
};

// 1 (or 801: the card cannot flush remote writes) if an operation of the batch makes no sense.
CUresult check_memory_operations(std::span<const CUstreamBatchMemOpParams> batch, MemoryOpVersion version);

}  // namespace lull::sim

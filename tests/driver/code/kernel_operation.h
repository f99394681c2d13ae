// A kernel with everything a launch of it needs: its parameters are copied when it is asked for.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "tests/driver/code/module.h"
#include "tests/driver/stream/operation.h"

namespace lull::sim {

struct LaunchShape {
  std::array<unsigned, 3> grid, block;
  std::size_t shared = 0;  // dynamic, bytes a block
};
using LaunchAttributes = std::map<CUlaunchAttributeID, CUlaunchAttributeValue>;

class KernelOperation : public Operation {
 public:
  // Checks all of it, as the driver does at the call.
  static CUresult make(CUfunction function, const LaunchShape& shape, LaunchAttributes attributes, Context& context,
                       void** params, void** extra, std::shared_ptr<const KernelOperation>& out);

  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_KERNEL; }
  CUresult run(Running&) const override;

  const Function& function() const { return *function_; }
  const LaunchShape& shape() const { return shape_; }
  const LaunchAttributes& attributes() const { return attributes_; }
  bool cooperative() const;
  // The parameters as they were given: pointers to each, or one buffer. The operation owns them.
  void** params() const { return as_buffer_ ? nullptr : pointers_.data(); }
  void** extra() const { return as_buffer_ ? extra_.data() : nullptr; }
  // The same launch with other attributes, if they can be had.
  CUresult with(LaunchAttributes attributes, std::shared_ptr<const KernelOperation>& out) const;

 private:
  KernelOperation(std::shared_ptr<Function> function, const Device& device, const LaunchShape& shape,
                  LaunchAttributes attributes);
  CUresult check() const;
  CUresult pack(void** params, void** extra);

  std::shared_ptr<Function> function_;
  const Device& device_;
  LaunchShape shape_;
  LaunchAttributes attributes_;
  std::vector<std::byte> parameters_;
  std::size_t parameter_bytes_ = 0;
  bool as_buffer_ = false;
  mutable std::vector<void*> pointers_;  // handed out by GetParams, whose types know no const
  mutable std::array<void*, 5> extra_{};
};

// 801 for an attribute this card lacks, 1 for one that no card knows.
CUresult check_attribute(CUlaunchAttributeID id, const CUlaunchAttributeValue& value);

}  // namespace lull::sim

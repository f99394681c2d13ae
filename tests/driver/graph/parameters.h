// What the parameter structures of nodes mean as operations, and the structures that tell of an operation.
#pragma once
#include <memory>

#include "tests/driver/copy/copy.h"
#include "tests/driver/graph/graph.h"

namespace lull::sim {

struct Made {
  OperationPtr operation;
  std::weak_ptr<Context> context;
};

struct CopyParameters {
  const CUDA_MEMCPY3D* copy;
  CUcontext context;
};
struct FillParameters {
  CUDA_MEMSET_NODE_PARAMS fill;
  CUcontext context;
};
struct RecordParameters {
  CUevent event;
};
struct WaitParameters {
  CUevent event;
};

// Each checks what it is given; a null context means the current one.
CUresult make(const CUDA_KERNEL_NODE_PARAMS_v1&, Made&);
CUresult make(const CUDA_KERNEL_NODE_PARAMS_v2&, Made&);
CUresult make(const CopyParameters&, Made&);
CUresult make(const FillParameters&, Made&);
CUresult make(const CUDA_HOST_NODE_PARAMS&, Made&);
CUresult make(const CUDA_BATCH_MEM_OP_NODE_PARAMS&, Made&);
CUresult make(const CUDA_CHILD_GRAPH_NODE_PARAMS&, Made&);
CUresult make(const RecordParameters&, Made&);
CUresult make(const WaitParameters&, Made&);
// Any of them; 801 for nodes that this driver has not, see node_api.cpp.
CUresult make(const CUgraphNodeParams&, Made&);

// A kernel node that gets other parameters keeps its attributes.
CUresult keep_attributes(const Node& node, Made& next);

// Each is 1 (invalid value) for a node of another type.
CUresult tell(const Node&, CUDA_KERNEL_NODE_PARAMS_v1&);
CUresult tell(const Node&, CUDA_KERNEL_NODE_PARAMS_v2&);
CUresult tell(const Node&, CUDA_MEMCPY3D&);
CUresult tell(const Node&, CUDA_MEMSET_NODE_PARAMS&);
CUresult tell(const Node&, CUDA_HOST_NODE_PARAMS&);
CUresult tell(const Node&, CUDA_BATCH_MEM_OP_NODE_PARAMS&);

template <class T>
const T* operation_of(const Node& node) {
  return dynamic_cast<const T*>(node.operation.get());
}

}  // namespace lull::sim

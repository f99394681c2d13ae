#include "tests/driver/graph/parameters.h"

#include <algorithm>
#include <cstring>

#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/context/context.h"
#include "tests/driver/copy/plan.h"
#include "tests/driver/registry.h"
#include "tests/driver/stream/event.h"
#include "tests/driver/stream/memory_operation.h"

namespace lull::sim {
namespace {

// A copy that remembers how it was asked for.
class AskedCopy : public CopyOperation {
 public:
  AskedCopy(const Box& box, Route route, const CUDA_MEMCPY3D& asked) : CopyOperation(box, route), asked_(asked) {}
  const CUDA_MEMCPY3D& asked() const { return asked_; }

 private:
  CUDA_MEMCPY3D asked_;
};

CUresult find_context(CUcontext handle, Found& out) {
  if (!handle) {
    out = current_context();
    return out.error;
  }
  out = {registry<Context>().find(handle), CUDA_SUCCESS};
  return out.context ? out.context->error() : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult make_kernel(const CUDA_KERNEL_NODE_PARAMS_v1& p, CUfunction function, CUcontext handle, Made& out) {
  Found context;
  const auto loaded = registry<Function>().find(function);
  const auto* of_function = loaded ? loaded->module->context() : nullptr;
  if (const CUresult failed = find_context(loaded ? handle_of(of_function) : handle, context)) return failed;
  const LaunchShape shape{
      {p.gridDimX, p.gridDimY, p.gridDimZ}, {p.blockDimX, p.blockDimY, p.blockDimZ}, p.sharedMemBytes};
  std::shared_ptr<const KernelOperation> kernel;
  const CUresult wrong = KernelOperation::make(function, shape, {}, *context, p.kernelParams, p.extra, kernel);
  if (wrong) return wrong == CUDA_ERROR_INVALID_HANDLE ? CUDA_ERROR_INVALID_VALUE : wrong;
  out = {kernel, context.context};
  return CUDA_SUCCESS;
}

// How a copy that was captured would have been asked for.
void tell_side(const Side& side, bool device, CUmemorytype& type, CUdeviceptr& at_device, const void*& at_host,
               std::size_t& pitch, std::size_t& rows) {
  type = device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
  if (device)
    at_device = side.address;
  else
    at_host = reinterpret_cast<const void*>(side.address);
  pitch = side.pitch;
  rows = side.pitch ? side.slice / side.pitch : 0;
}

template <class T>
CUresult find_event(CUevent handle, Made& out) {
  const auto event = registry<Event>().find(handle);
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  out = {std::make_shared<T>(event, nullptr), {}};
  return CUDA_SUCCESS;
}

// All bytes behind the member of the union that the type means.
bool rest_is_zero(const CUgraphNodeParams& p, std::size_t used) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(p.reserved1);
  const bool zeroed = std::all_of(bytes + used, bytes + sizeof p.reserved1, [](unsigned char c) { return c == 0; });
  return zeroed && p.reserved2 == 0 && std::ranges::all_of(p.reserved0, [](int word) { return word == 0; });
}

template <class Member, class Parameters>
CUresult make_member(const CUgraphNodeParams& p, const Member&, const Parameters& parameters, Made& out) {
  return rest_is_zero(p, sizeof(Member)) ? make(parameters, out) : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult make(const CUDA_KERNEL_NODE_PARAMS_v1& p, Made& out) { return make_kernel(p, p.func, nullptr, out); }

CUresult make(const CUDA_KERNEL_NODE_PARAMS_v2& p, Made& out) {
  const CUDA_KERNEL_NODE_PARAMS_v1 same{p.func,      p.gridDimX,  p.gridDimY,       p.gridDimZ,     p.blockDimX,
                                        p.blockDimY, p.blockDimZ, p.sharedMemBytes, p.kernelParams, p.extra};
  return make_kernel(same, p.func ? p.func : reinterpret_cast<CUfunction>(p.kern), p.ctx, out);
}

CUresult make(const CopyParameters& p, Made& out) {
  Found context;
  if (const CUresult failed = find_context(p.context, context)) return failed;
  CopyPlan plan;
  if (!p.copy) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = plan_copy(*p.copy, plan)) return wrong;
  if (plan.box.bytes() == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check_copy(plan.box, plan.route)) return wrong;
  out = {std::make_shared<AskedCopy>(plan.box, plan.route, *p.copy), context.context};
  return CUDA_SUCCESS;
}

CUresult make(const FillParameters& p, Made& out) {
  Found context;
  if (const CUresult failed = find_context(p.context, context)) return failed;
  const auto& f = p.fill;
  const bool element = f.elementSize == 1 || f.elementSize == 2 || f.elementSize == 4;
  const bool fits = element && (f.elementSize == 4 || f.value >> (8 * f.elementSize) == 0);
  if (!fits || f.width == 0 || f.height == 0) return CUDA_ERROR_INVALID_VALUE;
  const Fill fill{{f.dst, f.pitch}, f.value, f.elementSize, f.width, f.height};
  if (const CUresult wrong = check_fill(fill)) return wrong;
  out = {std::make_shared<FillOperation>(fill), context.context};
  return CUDA_SUCCESS;
}

CUresult make(const CUDA_HOST_NODE_PARAMS& p, Made& out) {
  if (!p.fn) return CUDA_ERROR_INVALID_VALUE;
  out = {std::make_shared<HostOperation>(p), {}};
  return CUDA_SUCCESS;
}

CUresult make(const CUDA_BATCH_MEM_OP_NODE_PARAMS& p, Made& out) {
  Found context;
  if (const CUresult failed = find_context(p.ctx, context)) return failed;
  if (p.flags != 0 || p.count == 0 || p.count > 255 || !p.paramArray) return CUDA_ERROR_INVALID_VALUE;
  const std::span<const CUstreamBatchMemOpParams> batch(p.paramArray, p.count);
  if (const CUresult wrong = check_memory_operations(batch, MemoryOpVersion::v2)) return wrong;
  out = {std::make_shared<MemoryOperation>(std::vector(batch.begin(), batch.end())), context.context};
  return CUDA_SUCCESS;
}

CUresult make(const CUDA_CHILD_GRAPH_NODE_PARAMS& p, Made& out) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(p.graph);
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Graph> child;
  if (p.ownership == CU_GRAPH_CHILD_GRAPH_OWNERSHIP_MOVE) {
    if (graph->owner != Graph::Owner::program || graph->captured_into || graph->executables)
      return CUDA_ERROR_INVALID_VALUE;
    child = graph;
  } else {
    if (p.ownership != CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE || has_memory_nodes(*graph))
      return CUDA_ERROR_INVALID_VALUE;
    child = clone(*graph);
  }
  child->owner = Graph::Owner::node;
  out = {std::make_shared<ChildOperation>(std::move(child)), {}};
  return CUDA_SUCCESS;
}

CUresult make(const RecordParameters& p, Made& out) { return find_event<RecordOperation>(p.event, out); }
CUresult make(const WaitParameters& p, Made& out) { return find_event<AwaitOperation>(p.event, out); }

CUresult make(const CUgraphNodeParams& p, Made& out) {
  switch (p.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      CUDA_KERNEL_NODE_PARAMS_v2 same;
      static_assert(sizeof same == sizeof p.kernel);
      std::memcpy(&same, &p.kernel, sizeof same);  // v3 differs in name alone
      return make_member(p, p.kernel, same, out);
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      if (p.memcpy.flags || p.memcpy.reserved) return CUDA_ERROR_INVALID_VALUE;
      return make_member(p, p.memcpy, CopyParameters{&p.memcpy.copyParams, p.memcpy.copyCtx}, out);
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      const auto& m = p.memset;
      const FillParameters fill{{m.dst, m.pitch, m.value, m.elementSize, m.width, m.height}, m.ctx};
      return make_member(p, p.memset, fill, out);
    }
    case CU_GRAPH_NODE_TYPE_HOST: return make_member(p, p.host, CUDA_HOST_NODE_PARAMS{p.host.fn, p.host.userData}, out);
    case CU_GRAPH_NODE_TYPE_GRAPH: return make_member(p, p.graph, p.graph, out);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT: return make_member(p, p.eventWait, WaitParameters{p.eventWait.event}, out);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return make_member(p, p.eventRecord, RecordParameters{p.eventRecord.event}, out);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: {
      const CUDA_BATCH_MEM_OP_NODE_PARAMS ops{p.memOp.ctx, p.memOp.count, p.memOp.paramArray, p.memOp.flags};
      return make_member(p, p.memOp, ops, out);
    }
    case CU_GRAPH_NODE_TYPE_EMPTY:
      if (!rest_is_zero(p, 0)) return CUDA_ERROR_INVALID_VALUE;
      out = {std::make_shared<EmptyOperation>(), {}};
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
    case CU_GRAPH_NODE_TYPE_CONDITIONAL: return CUDA_ERROR_NOT_SUPPORTED;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult keep_attributes(const Node& node, Made& next) {
  const auto* was = operation_of<KernelOperation>(node);
  const auto* now = dynamic_cast<const KernelOperation*>(next.operation.get());
  if (!was || !now) return CUDA_SUCCESS;
  std::shared_ptr<const KernelOperation> with_them;
  const CUresult wrong = now->with(was->attributes(), with_them);
  if (wrong == CUDA_SUCCESS) next.operation = with_them;
  return wrong;
}

CUresult tell(const Node& node, CUDA_KERNEL_NODE_PARAMS_v1& out) {
  const auto* kernel = operation_of<KernelOperation>(node);
  if (!kernel) return CUDA_ERROR_INVALID_VALUE;
  const auto& [grid, block, shared] = kernel->shape();
  out = {reinterpret_cast<CUfunction>(const_cast<Function*>(&kernel->function())),
         grid[0],
         grid[1],
         grid[2],
         block[0],
         block[1],
         block[2],
         static_cast<unsigned>(shared),
         kernel->params(),
         kernel->extra()};
  return CUDA_SUCCESS;
}

CUresult tell(const Node& node, CUDA_KERNEL_NODE_PARAMS_v2& out) {
  CUDA_KERNEL_NODE_PARAMS_v1 v1{};
  if (const CUresult wrong = tell(node, v1)) return wrong;
  out = {};
  std::memcpy(&out, &v1, sizeof v1);  // v2 begins as v1
  out.ctx = handle_of(node.context.lock().get());
  return CUDA_SUCCESS;
}

CUresult tell(const Node& node, CUDA_MEMCPY3D& out) {
  const auto* copy = operation_of<CopyOperation>(node);
  if (!copy) return CUDA_ERROR_INVALID_VALUE;
  if (const auto* asked = operation_of<AskedCopy>(node)) {
    out = asked->asked();
    return CUDA_SUCCESS;
  }
  const Box& box = copy->box();
  const Route route = copy->route();
  out = {};
  out.WidthInBytes = box.width;
  out.Height = box.height;
  out.Depth = box.depth;
  const void* to_host = nullptr;
  tell_side(box.from, route == Route::to_host || route == Route::within_device, out.srcMemoryType, out.srcDevice,
            out.srcHost, out.srcPitch, out.srcHeight);
  tell_side(box.to, route == Route::to_device || route == Route::within_device, out.dstMemoryType, out.dstDevice,
            to_host, out.dstPitch, out.dstHeight);
  out.dstHost = const_cast<void*>(to_host);
  return CUDA_SUCCESS;
}

CUresult tell(const Node& node, CUDA_MEMSET_NODE_PARAMS& out) {
  const auto* operation = operation_of<FillOperation>(node);
  if (!operation) return CUDA_ERROR_INVALID_VALUE;
  const Fill& fill = operation->fill();
  out = {fill.to.address, fill.to.pitch, fill.value, fill.element_bytes, fill.width, fill.height};
  return CUDA_SUCCESS;
}

CUresult tell(const Node& node, CUDA_HOST_NODE_PARAMS& out) {
  const auto* host = operation_of<HostOperation>(node);
  if (!host) return CUDA_ERROR_INVALID_VALUE;
  out = host->parameters();
  return CUDA_SUCCESS;
}

CUresult tell(const Node& node, CUDA_BATCH_MEM_OP_NODE_PARAMS& out) {
  const auto* ops = operation_of<MemoryOperation>(node);
  if (!ops) return CUDA_ERROR_INVALID_VALUE;
  // The array is the node's, as the driver says; its type knows no const.
  out = {handle_of(node.context.lock().get()), static_cast<unsigned>(ops->batch().size()),
         const_cast<CUstreamBatchMemOpParams*>(ops->batch().data()), 0};
  return CUDA_SUCCESS;
}

}  // namespace lull::sim

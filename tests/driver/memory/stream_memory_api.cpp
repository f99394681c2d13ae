// cuMemAllocAsync and its like.
#include "tests/driver/graph/memory_nodes.h"
#include "tests/driver/memory/graph_memory.h"
#include "tests/driver/memory/pool.h"
#include "tests/driver/memory/report.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult mark(Stream& stream, CUgraphNodeType type) {
  return submit(
      stream, type,
      [](Running& running) {
        running.end_ns = running.ready_ns;
        return CUDA_SUCCESS;
      },
      After::error_too);
}

// What the program may use from now on in the order of the stream.
CUresult allocate_from(Pool& pool, CUdeviceptr* dptr, std::size_t bytes, Stream& stream) {
  std::optional<Ticket> after;
  {
    Space& all = space();
    const std::scoped_lock lock(all.mutex);
    PoolBlock block = pool.allocate(bytes, stream);
    if (!block.address) return CUDA_ERROR_OUT_OF_MEMORY;
    all.allocations[block.address] = {.bytes = bytes,
                                      .kind = AllocationKind::pool,
                                      .context = nullptr,  // it outlives the context it was allocated in
                                      .device = &pool.device(),
                                      .slab = 0,
                                      .id = next_allocation_id(),
                                      .pool = &pool};
    *dptr = block.address;
    after = std::move(block.after);
  }
  if (!after) return CUDA_SUCCESS;
  (void)stream.push(std::make_shared<EmptyOperation>(), {std::move(*after)});
  return CUDA_SUCCESS;
}

std::shared_ptr<Pool> pool_of(Device& device) {
  const std::scoped_lock lock(space().mutex);
  return registry<Pool>().find(current_pool(device));
}

CUresult check(const CUdeviceptr* dptr, const FoundStream& stream) {
  if (!stream) return stream.error;
  if (!dptr) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

// Takes the block of a pool from the program. False: it is none.
bool take_back(CUdeviceptr dptr, Allocation& out) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.allocations.find(dptr);
  if (found == all.allocations.end() || found->second.kind != AllocationKind::pool) return false;
  out = found->second;
  note_freed(dptr, out.bytes);
  all.allocations.erase(found);
  return true;
}

bool may_be_freed(CUdeviceptr dptr) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.allocations.find(dptr);
  const bool may = found != all.allocations.end() && found->second.kind != AllocationKind::ipc;
  if (!may) report_bad_free(dptr);
  return may;
}

}  // namespace

CUresult cuMemAllocAsync(CUdeviceptr* dptr, size_t bytesize, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (const CUresult failed = check(dptr, stream)) return failed;
  if (bytesize == 0) {
    *dptr = 0;
    return CUDA_SUCCESS;
  }
  if (capture_of(*stream)) return capture_allocation(*stream, bytesize, dptr);
  const auto context = stream->context();
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  const auto pool = pool_of(context->device());
  return pool ? allocate_from(*pool, dptr, bytesize, *stream) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* dptr, size_t bytesize, CUmemoryPool handle, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (const CUresult failed = check(dptr, stream)) return failed;
  const auto pool = registry<Pool>().find(handle);
  if (!pool || pool->imported()) return CUDA_ERROR_INVALID_VALUE;
  if (bytesize == 0) {
    *dptr = 0;
    return CUDA_SUCCESS;
  }
  if (capture_of(*stream)) return capture_allocation(*stream, bytesize, dptr);
  return allocate_from(*pool, dptr, bytesize, *stream);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!dptr) return CUDA_SUCCESS;
  if (capture_of(*stream)) return capture_free(*stream, dptr);
  Allocation block{};
  if (take_back(dptr, block)) {
    const CUresult failed = mark(*stream, CU_GRAPH_NODE_TYPE_MEM_FREE);
    const std::scoped_lock lock(space().mutex);
    block.pool->put_back(dptr, block.bytes, Ticket{stream.stream, stream->submitted()});
    return failed;
  }
  const bool of_graph = is_graph_memory(dptr);
  if (of_graph ? !end_graph_allocation(dptr) : !may_be_freed(dptr)) return CUDA_ERROR_INVALID_VALUE;
  return submit(*stream, CU_GRAPH_NODE_TYPE_MEM_FREE, [dptr, of_graph](Running& running) {
    running.end_ns = running.ready_ns;
    if (of_graph) return free_graph_memory(dptr);
    return release(dptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

}  // namespace lull::sim::api

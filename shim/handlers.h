// shim/handlers.h: what the shim does instead of, or around, a driver function. Each has exactly the driver's signature
// and is named in hooks.def; a process that is not active gets the plain driver call.
#pragma once
#include <cstddef>

#include "shim/real.h"
#include "shim/room.h"
#include "shim/signals.h"

namespace lull {

namespace memory {
CUresult alloc(CUdeviceptr* base, std::size_t bytes);
CUresult alloc_pitch(CUdeviceptr* base, std::size_t* pitch, std::size_t width, std::size_t height,
                     unsigned element_bytes);
CUresult free(CUdeviceptr base);
CUresult free_async(CUdeviceptr base, CUstream stream);
CUresult free_async_ptsz(CUdeviceptr base, CUstream stream);
CUresult ipc_get_handle(CUipcMemHandle* handle, CUdeviceptr base);
}  // namespace memory

namespace program {
CUresult reserve(CUdeviceptr* at, std::size_t bytes, std::size_t alignment, CUdeviceptr hint, unsigned long long flags);
CUresult unreserve(CUdeviceptr at, std::size_t bytes);
CUresult create(CUmemGenericAllocationHandle* handle, std::size_t bytes, const CUmemAllocationProp* properties,
                unsigned long long flags);
CUresult release(CUmemGenericAllocationHandle handle);
CUresult map(CUdeviceptr at, std::size_t bytes, std::size_t offset, CUmemGenericAllocationHandle handle,
             unsigned long long flags);
CUresult unmap(CUdeviceptr at, std::size_t bytes);
CUresult set_access(CUdeviceptr at, std::size_t bytes, const CUmemAccessDesc* access, std::size_t count);
CUresult get_access(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr at);
CUresult retain_handle(CUmemGenericAllocationHandle* handle, void* address);
CUresult properties_of(CUmemAllocationProp* properties, CUmemGenericAllocationHandle handle);
CUresult export_handle(void* shareable, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type,
                       unsigned long long flags);
CUresult bind_multicast(CUmemGenericAllocationHandle multicast, std::size_t multicast_offset,
                        CUmemGenericAllocationHandle handle, std::size_t offset, std::size_t bytes,
                        unsigned long long flags);
CUresult bind_multicast_address(CUmemGenericAllocationHandle multicast, std::size_t multicast_offset, CUdeviceptr at,
                                std::size_t bytes, unsigned long long flags);
CUresult handle_for_range(void* handle, CUdeviceptr at, std::size_t bytes, CUmemRangeHandleType type,
                          unsigned long long flags);
CUresult set_pointer_attribute(const void* value, CUpointer_attribute attribute, CUdeviceptr pointer);
CUresult peer_tokens(void* tokens, CUdeviceptr pointer);  // for info::pointer_attribute
}  // namespace program

namespace pools {
CUresult create(CUmemoryPool* pool, const CUmemPoolProps* properties);
CUresult destroy(CUmemoryPool pool);
CUresult allocated(CUresult result);  // counts the successes
template <auto& next>
CUresult alloc(CUdeviceptr* base, std::size_t bytes, CUstream stream) {
  return allocated(room::asking([&] { return next(base, bytes, stream); }, {{}, bytes}));
}
template <auto& next>
CUresult alloc(CUdeviceptr* base, std::size_t bytes, CUmemoryPool pool, CUstream stream) {
  return allocated(room::asking([&] { return next(base, bytes, pool, stream); }, {{}, bytes}));
}
}  // namespace pools

namespace managed {
CUresult alloc(CUdeviceptr* base, std::size_t bytes, unsigned flags);
}  // namespace managed

namespace graph_memory {
CUresult add_alloc_node(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, std::size_t count,
                        CUDA_MEM_ALLOC_NODE_PARAMS* parameters);
CUresult add_node(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, std::size_t count,
                  CUgraphNodeParams* parameters);
CUresult add_node(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, const CUgraphEdgeData* edges,
                  std::size_t count, CUgraphNodeParams* parameters);
}  // namespace graph_memory

namespace arrays {
CUresult create(CUarray* array, const CUDA_ARRAY_DESCRIPTOR* description);
CUresult create_3d(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR* description);
CUresult create_mipmapped(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR* description, unsigned levels);
CUresult destroy(CUarray array);
CUresult destroy(CUmipmappedArray array);
}  // namespace arrays

namespace info {
CUresult get_info(std::size_t* free, std::size_t* total);
CUresult total_mem(std::size_t* bytes, CUdevice device);
CUresult address_range(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr inside);
CUresult pointer_attribute(void* data, CUpointer_attribute attribute, CUdeviceptr pointer);
CUresult pointer_attributes(unsigned count, CUpointer_attribute* attributes, void** data, CUdeviceptr pointer);
}  // namespace info

namespace context {
CUresult create(CUcontext* context, unsigned flags, CUdevice device);
CUresult create_v3(CUcontext* context, CUexecAffinityParam* affinity, int count, unsigned flags, CUdevice device);
CUresult create_v4(CUcontext* context, CUctxCreateParams* parameters, unsigned flags, CUdevice device);
CUresult destroy(CUcontext context);
CUresult primary_retain(CUcontext* context, CUdevice device);
CUresult primary_release(CUdevice device);
CUresult primary_reset(CUdevice device);
void forget(CUcontext context);  // it is gone, and with it what the program had in it; the mover rests or calls
}  // namespace context

namespace stream {
CUresult create(CUstream* stream, unsigned flags);
CUresult create_with_priority(CUstream* stream, unsigned flags, int priority);
CUresult green_create(CUstream* stream, CUgreenCtx context, unsigned flags, int priority);
CUresult destroy(CUstream stream);
CUresult query(CUstream stream);
}  // namespace stream

// Counted, so that nothing of ours disturbs a capture. One body for each revision and flavour: capture::begin<real::X>.
// The count and the driver's call belong together: no handler may leave between them.
namespace capture {
void began();  // waits for a drain that is placing its events, which would fall into the capture
CUresult begun(CUresult result);
void ended();
bool capturing(CUstream stream);  // an invalidated capture counts until it is ended

template <auto& next, class... Args>
CUresult begin_with(Args... args) {
  const SignalsBlocked together;
  began();
  return begun(next(args...));
}
template <auto& next>
CUresult begin(CUstream stream) {
  return begin_with<next>(stream);
}
template <auto& next>
CUresult begin(CUstream stream, CUstreamCaptureMode mode) {
  return begin_with<next>(stream, mode);
}
template <auto& next>
CUresult begin(CUstream stream, CUgraph graph, const CUgraphNode* dependencies, const CUgraphEdgeData* edges,
               std::size_t count, CUstreamCaptureMode mode) {
  return begin_with<next>(stream, graph, dependencies, edges, count, mode);
}
template <auto& next>
CUresult end(CUstream stream, CUgraph* graph) {
  const SignalsBlocked together;
  const bool before = capturing(stream);
  const CUresult result = next(stream, graph);
  if (before && !capturing(stream)) ended();
  return result;
}
}  // namespace capture

}  // namespace lull

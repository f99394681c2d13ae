// cuMemAllocManaged, and moving and advising about what it returned.
#include <vector>

#include "tests/driver/graph/graph.h"
#include "tests/driver/managed/migrate.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// A place a program may name. This machine is taken to have one memory node.
CUresult place_of(const CUmemLocation& location, Place& out) {
  switch (location.type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
      out = location.id;
      return device_of(location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    case CU_MEM_LOCATION_TYPE_HOST: out = on_host; return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT: out = on_node_0; return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
      out = on_node_0;
      return location.id == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}
CUmemLocation location_of(CUdevice device) {
  if (device == CU_DEVICE_CPU) return {CU_MEM_LOCATION_TYPE_HOST, 0};
  return {CU_MEM_LOCATION_TYPE_DEVICE, device};
}

Place physical(Place place) { return place == on_node_0 ? on_host : place; }

// Prefetches of one call, checked before any is queued.
struct Prefetch {
  ManagedRange range;
  Place to = nowhere;
  bool discards = false;
};

CUresult queue(Stream& stream, const std::vector<Prefetch>& all) {
  if (capture_of(stream)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;  // no node of a graph does this
  for (const Prefetch& one : all) {
    const std::scoped_lock lock(managed().mutex);
    for (Block& block : managed().blocks_of(one.range.address, one.range.bytes)) {
      if (one.to != nowhere) block.last_prefetch = one.to;
    }
  }
  return submit(stream, CU_GRAPH_NODE_TYPE_EMPTY, [all](Running& running) {
    running.end_ns = running.ready_ns;
    for (const Prefetch& one : all) {
      if (one.discards) discard(one.range);
      if (one.to != nowhere) migrate(running, one.range, physical(one.to));
    }
    return CUDA_SUCCESS;
  });
}

CUresult prefetch(CUdeviceptr address, std::size_t bytes, const CUmemLocation& location, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  Prefetch one{{address, bytes}};
  if (const CUresult failed = place_of(location, one.to)) return failed;
  return is_managed(address, bytes) ? queue(*stream, {one}) : CUDA_ERROR_INVALID_VALUE;
}

struct Ranges {
  const CUdeviceptr* addresses;
  const size_t* sizes;
  std::size_t count;
};

CUresult read_ranges(const Ranges& ranges, std::vector<Prefetch>& out) {
  if (!ranges.addresses || !ranges.sizes || ranges.count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < ranges.count; ++i) {
    if (!is_managed(ranges.addresses[i], ranges.sizes[i])) return CUDA_ERROR_INVALID_VALUE;
    out.push_back({{ranges.addresses[i], ranges.sizes[i]}});
  }
  return CUDA_SUCCESS;
}

// The first location is for range 0, the others for rising ones, all of them there.
CUresult read_places(const CUmemLocation* places, const size_t* first, std::size_t known, std::vector<Prefetch>& all) {
  if (!places || !first || known == 0 || known > all.size() || first[0] != 0) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < known; ++i) {
    const std::size_t end = i + 1 < known ? first[i + 1] : all.size();
    if (end <= first[i] || end > all.size()) return CUDA_ERROR_INVALID_VALUE;
    Place to = nowhere;
    if (const CUresult failed = place_of(places[i], to)) return failed;
    for (std::size_t at = first[i]; at < end; ++at) all[at].to = to;
  }
  return CUDA_SUCCESS;
}

struct Places {
  const CUmemLocation* locations;
  const size_t* first;
  std::size_t known;
};

CUresult batch(const Ranges& ranges, const Places* places, bool discards, unsigned long long flags, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (stream->kind() == Stream::Kind::legacy || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Prefetch> all;
  if (const CUresult failed = read_ranges(ranges, all)) return failed;
  if (places) {
    if (const CUresult failed = read_places(places->locations, places->first, places->known, all)) return failed;
  }
  for (Prefetch& one : all) one.discards = discards;
  return queue(*stream, all);
}

std::uint32_t bit_of(Place place) { return 1u << (place < 0 ? 0 : place + 1); }

void apply(Block& block, CUmem_advise advice, Place place) {
  switch (advice) {
    case CU_MEM_ADVISE_SET_READ_MOSTLY: block.read_mostly = true; break;
    case CU_MEM_ADVISE_UNSET_READ_MOSTLY: block.read_mostly = false; break;
    case CU_MEM_ADVISE_SET_PREFERRED_LOCATION: block.preferred = place; break;
    case CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION: block.preferred = nowhere; break;
    case CU_MEM_ADVISE_SET_ACCESSED_BY: block.accessed_by |= bit_of(place); break;
    case CU_MEM_ADVISE_UNSET_ACCESSED_BY: block.accessed_by &= ~bit_of(place); break;
    default: break;
  }
}

// Some advice has no use for its location.
bool needs_place(CUmem_advise advice) {
  return advice == CU_MEM_ADVISE_SET_PREFERRED_LOCATION || advice == CU_MEM_ADVISE_SET_ACCESSED_BY ||
         advice == CU_MEM_ADVISE_UNSET_ACCESSED_BY;
}

CUresult advise(CUdeviceptr address, std::size_t bytes, CUmem_advise advice, const CUmemLocation& location) {
  const Found context = current_context();
  if (!context) return context.error;
  if (advice < CU_MEM_ADVISE_SET_READ_MOSTLY || advice > CU_MEM_ADVISE_UNSET_ACCESSED_BY)
    return CUDA_ERROR_INVALID_VALUE;
  Place place = nowhere;
  if (needs_place(advice)) {
    if (const CUresult failed = place_of(location, place)) return failed;
    if (place == on_node_0 && advice != CU_MEM_ADVISE_SET_PREFERRED_LOCATION) return CUDA_ERROR_INVALID_VALUE;
  }
  const std::scoped_lock lock(managed().mutex);
  const auto blocks = managed().blocks_of(address, bytes);
  for (Block& block : blocks) apply(block, advice, place);
  return blocks.empty() ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemAllocManaged(CUdeviceptr* dptr, size_t bytesize, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST) return CUDA_ERROR_INVALID_VALUE;
  if (!dptr || bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  *dptr = allocate_managed(*context, bytesize, flags);
  return *dptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr p, size_t count, CUmemLocation location, unsigned flags, CUstream s) {
  return flags ? CUDA_ERROR_INVALID_VALUE : prefetch(p, count, location, s);
}
CUresult cuMemPrefetchAsync(CUdeviceptr p, size_t count, CUdevice device, CUstream s) {
  return prefetch(p, count, location_of(device), s);
}

CUresult cuMemPrefetchBatchAsync(CUdeviceptr* p, size_t* sizes, size_t count, CUmemLocation* locations, size_t* first,
                                 size_t known, unsigned long long flags, CUstream s) {
  const Places places{locations, first, known};
  return batch({p, sizes, count}, &places, false, flags, s);
}
CUresult cuMemDiscardBatchAsync(CUdeviceptr* p, size_t* sizes, size_t count, unsigned long long flags, CUstream s) {
  return batch({p, sizes, count}, nullptr, true, flags, s);
}
CUresult cuMemDiscardAndPrefetchBatchAsync(CUdeviceptr* p, size_t* sizes, size_t count, CUmemLocation* locations,
                                           size_t* first, size_t known, unsigned long long flags, CUstream s) {
  const Places places{locations, first, known};
  return batch({p, sizes, count}, &places, true, flags, s);
}

CUresult cuMemAdvise_v2(CUdeviceptr p, size_t count, CUmem_advise advice, CUmemLocation location) {
  return advise(p, count, advice, location);
}
CUresult cuMemAdvise(CUdeviceptr p, size_t count, CUmem_advise advice, CUdevice device) {
  return advise(p, count, advice, location_of(device));
}

// Every device here may use managed memory at any time, so who it is attached to is only kept.
CUresult cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t length, unsigned flags) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST && flags != CU_MEM_ATTACH_SINGLE)
    return CUDA_ERROR_INVALID_VALUE;
  if (flags == CU_MEM_ATTACH_SINGLE && stream->kind() == Stream::Kind::legacy) return CUDA_ERROR_INVALID_VALUE;
  if (capture_of(*stream)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  {
    const std::scoped_lock lock(managed().mutex);
    const auto found = managed().allocations.find(dptr);
    if (found == managed().allocations.end() || (length != 0 && length != found->second.bytes))
      return CUDA_ERROR_INVALID_VALUE;
  }
  return submit(*stream, CU_GRAPH_NODE_TYPE_EMPTY, [dptr, flags](Running& running) {
    running.end_ns = running.ready_ns;
    const std::scoped_lock lock(managed().mutex);
    const auto found = managed().allocations.find(dptr);
    if (found != managed().allocations.end()) found->second.attach = flags;
    return CUDA_SUCCESS;
  });
}

}  // namespace lull::sim::api

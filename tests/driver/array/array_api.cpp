// Creating, describing and destroying arrays.
#include <algorithm>

#include "tests/driver/array/array.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

const Array* enter(Array made) { return registry<Array>().add(std::make_shared<Array>(std::move(made))); }

// Luminance in full, behind it the two colours in half the size.
void split_planes(Array& whole) {
  CUDA_ARRAY3D_DESCRIPTOR shape = whole.shape;
  shape.Format = CU_AD_FORMAT_UNSIGNED_INT8;
  shape.NumChannels = 1;
  Array first{shape, 1, whole.base, whole.pitch, whole.context, true, {}};
  shape.NumChannels = 2;
  shape.Width /= 2;
  shape.Height /= 2;
  Array second{shape, 2, whole.base + whole.slice_bytes(), whole.pitch, whole.context, true, {}};
  whole.planes = {enter(std::move(first)), enter(std::move(second))};
}

CUresult create(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  Array made;
  if (const CUresult refused = plan_array(context->device(), shape, made)) return refused;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  const bool planar = shape.Format == CU_AD_FORMAT_NV12;
  const std::size_t bytes = made.slice_bytes() * made.slices() + (planar ? made.slice_bytes() / 2 : 0);
  made.base = allocate(*context, bytes, AllocationKind::array);
  if (!made.base) return CUDA_ERROR_OUT_OF_MEMORY;
  made.context = context.context.get();
  if (planar) split_planes(made);
  *out = handle_of(enter(std::move(made)));
  return CUDA_SUCCESS;
}

CUDA_ARRAY3D_DESCRIPTOR in_3d(const CUDA_ARRAY_DESCRIPTOR& flat) {
  return {flat.Width, flat.Height, 0, flat.Format, flat.NumChannels, 0};
}

// Any whose plane, level or whole it is.
CUresult describe(CUarray handle, CUDA_ARRAY3D_DESCRIPTOR& out) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto array = find_array(handle);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  out = array->shape;
  return CUDA_SUCCESS;
}

// Sparse and deferred arrays cannot be made here, so of every array that exists the header says: invalid value.
template <class Found>
CUresult not_that_kind(const void* out, const Found& found) {
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  return found ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

CUresult cuArrayCreate_v2(CUarray* pHandle, const CUDA_ARRAY_DESCRIPTOR* desc) {
  return desc ? create(pHandle, in_3d(*desc)) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuArray3DCreate_v2(CUarray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* desc) {
  return desc ? create(pHandle, *desc) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* desc, CUarray hArray) {
  return desc ? describe(hArray, *desc) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* desc, CUarray hArray) {
  CUDA_ARRAY3D_DESCRIPTOR full{};
  if (!desc) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = describe(hArray, full)) return failed;
  *desc = {full.Width, full.Height, full.Format, full.NumChannels};
  return CUDA_SUCCESS;
}

CUresult cuArrayGetPlane(CUarray* plane, CUarray hArray, unsigned index) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto array = find_array(hArray);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  if (!plane || index >= array->planes.size()) return CUDA_ERROR_INVALID_VALUE;
  *plane = handle_of(array->planes[index]);
  return CUDA_SUCCESS;
}

CUresult cuArrayDestroy(CUarray hArray) {
  const Found context = current_context();
  if (!context) return context.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  const auto array = find_array(hArray);
  if (!array || array->part) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult failed = context->synchronize()) return failed;
  if (!registry<Array>().remove(hArray)) return CUDA_ERROR_INVALID_HANDLE;  // another thread was quicker
  for (const Array* plane : array->planes) registry<Array>().remove(plane);
  (void)release(array->base);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* desc, unsigned numLevels) {
  const Found context = current_context();
  if (!context) return context.error;
  std::vector<Array> levels;
  if (!pHandle || !desc) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = plan_levels(context->device(), *desc, numLevels, levels)) return refused;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  std::size_t bytes = 0;
  for (const Array& level : levels) bytes += level.slice_bytes() * level.slices();
  auto made = std::make_shared<MipmappedArray>();
  made->context = context.context.get();
  made->base = allocate(*context, bytes, AllocationKind::array);
  if (!made->base) return CUDA_ERROR_OUT_OF_MEMORY;
  std::uintptr_t next = made->base;
  for (Array& level : levels) {
    level.base = next;
    level.context = made->context;
    level.part = true;
    next += level.slice_bytes() * level.slices();
    made->levels.push_back(enter(std::move(level)));
  }
  *pHandle = reinterpret_cast<CUmipmappedArray>(registry<MipmappedArray>().add(std::move(made)));
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetLevel(CUarray* level, CUmipmappedArray hMipmapped, unsigned index) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto mipmapped = find_mipmapped(hMipmapped);
  if (!mipmapped) return CUDA_ERROR_INVALID_HANDLE;
  if (!level || index >= mipmapped->levels.size()) return CUDA_ERROR_INVALID_VALUE;
  *level = handle_of(mipmapped->levels[index]);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray hMipmapped) {
  const Found context = current_context();
  if (!context) return context.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (!find_mipmapped(hMipmapped)) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult failed = context->synchronize()) return failed;
  const auto mipmapped = registry<MipmappedArray>().remove(hMipmapped);
  if (!mipmapped) return CUDA_ERROR_INVALID_HANDLE;
  for (const Array* level : mipmapped->levels) registry<Array>().remove(level);
  (void)release(mipmapped->base);
  return CUDA_SUCCESS;
}

CUresult cuArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES* properties, CUarray array) {
  return not_that_kind(properties, find_array(array));
}
CUresult cuMipmappedArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES* properties, CUmipmappedArray mipmap) {
  return not_that_kind(properties, find_mipmapped(mipmap));
}
CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* requirements, CUarray array, CUdevice dev) {
  return device_of(dev) ? not_that_kind(requirements, find_array(array)) : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* requirements, CUmipmappedArray mipmap,
                                               CUdevice dev) {
  return device_of(dev) ? not_that_kind(requirements, find_mipmapped(mipmap)) : CUDA_ERROR_INVALID_DEVICE;
}

// Maps memory into sparse arrays, of which there are none.
CUresult cuMemMapArrayAsync(CUarrayMapInfo* mapInfoList, unsigned count, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  return mapInfoList && count ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace lull::sim::api

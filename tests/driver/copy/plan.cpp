#include "tests/driver/copy/plan.h"

#include "tests/driver/array/array.h"

namespace lull::sim {
namespace {

constexpr std::size_t largest_pitch = 0x7fffffff;  // CU_DEVICE_ATTRIBUTE_MAX_PITCH

// One end of a copy, source or destination alike.
struct End {
  std::size_t x, y, z, lod;
  CUmemorytype type;
  std::uintptr_t host;
  CUdeviceptr device;
  CUarray array;
  std::size_t pitch, height;
};
struct Extent3d {
  std::size_t width, height, depth;
};

End source_of(const CUDA_MEMCPY3D& c) {
  return {
      c.srcXInBytes, c.srcY,     c.srcZ,     c.srcLOD,   c.srcMemoryType, reinterpret_cast<std::uintptr_t>(c.srcHost),
      c.srcDevice,   c.srcArray, c.srcPitch, c.srcHeight};
}
End destination_of(const CUDA_MEMCPY3D& c) {
  return {
      c.dstXInBytes, c.dstY,     c.dstZ,     c.dstLOD,   c.dstMemoryType, reinterpret_cast<std::uintptr_t>(c.dstHost),
      c.dstDevice,   c.dstArray, c.dstPitch, c.dstHeight};
}

bool inside(std::size_t start, std::size_t length, std::size_t whole) {
  return length <= whole && start <= whole - length;
}

CUresult side_of_array(const End& end, const Extent3d& extent, Side& side) {
  const auto array = find_array(end.array);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  if (array->planar() || end.x % array->element_bytes || extent.width % array->element_bytes)
    return CUDA_ERROR_INVALID_VALUE;
  if (!inside(end.x, extent.width, array->row_bytes()) || !inside(end.y, extent.height, array->rows()) ||
      !inside(end.z, extent.depth, array->slices()))
    return CUDA_ERROR_INVALID_VALUE;
  side = {array->base + end.z * array->slice_bytes() + end.y * array->pitch + end.x, array->pitch,
          array->slice_bytes()};
  return CUDA_SUCCESS;
}

// start + ((z * height) + y) * pitch + x of what the program says, where that is an address at all.
bool address_of(const End& end, std::size_t pitch, std::size_t height, const Extent3d& extent, Side& side) {
  std::size_t slice = 0, z = 0, y = 0, offset = 0, deep = 0, high = 0;
  if (__builtin_mul_overflow(pitch, height, &slice) || __builtin_mul_overflow(slice, end.z, &z) ||
      __builtin_mul_overflow(pitch, end.y, &y) || __builtin_add_overflow(z, y, &offset) ||
      __builtin_add_overflow(offset, end.x, &offset))
    return false;
  if (__builtin_mul_overflow(slice, extent.depth, &deep) || __builtin_mul_overflow(pitch, extent.height, &high))
    return false;
  const std::uintptr_t base = end.type == CU_MEMORYTYPE_HOST ? end.host : end.device;
  std::uintptr_t last = 0;
  if (__builtin_add_overflow(base, offset, &side.address) || __builtin_add_overflow(side.address, deep, &last) ||
      __builtin_add_overflow(last, high, &last) || __builtin_add_overflow(last, extent.width, &last))
    return false;
  side.pitch = pitch;
  side.slice = slice;
  return base != 0 || extent.width == 0 || extent.height == 0 || extent.depth == 0;
}

CUresult side_of_memory(const End& end, const Extent3d& extent, Side& side) {
  if (end.pitch > largest_pitch) return CUDA_ERROR_INVALID_VALUE;
  if (end.pitch != 0 && !inside(end.x, extent.width, end.pitch)) return CUDA_ERROR_INVALID_VALUE;
  if (end.height != 0 && !inside(end.y, extent.height, end.height)) return CUDA_ERROR_INVALID_VALUE;
  std::size_t pitch = end.pitch, height = end.height;
  // Not specified: rows and slices follow each other without a gap.
  if (pitch == 0 && __builtin_add_overflow(end.x, extent.width, &pitch)) return CUDA_ERROR_INVALID_VALUE;
  if (height == 0 && __builtin_add_overflow(end.y, extent.height, &height)) return CUDA_ERROR_INVALID_VALUE;
  return address_of(end, pitch, height, extent, side) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult side_of(const End& end, const Extent3d& extent, Side& side) {
  if (end.lod != 0) return CUDA_ERROR_INVALID_VALUE;
  if (end.type == CU_MEMORYTYPE_ARRAY) return side_of_array(end, extent, side);
  if (end.type != CU_MEMORYTYPE_HOST && end.type != CU_MEMORYTYPE_DEVICE && end.type != CU_MEMORYTYPE_UNIFIED)
    return CUDA_ERROR_INVALID_VALUE;
  return side_of_memory(end, extent, side);
}

bool device_side(CUmemorytype type, const Side& side) {
  if (type == CU_MEMORYTYPE_ARRAY || type == CU_MEMORYTYPE_DEVICE) return true;
  return type == CU_MEMORYTYPE_UNIFIED && known_to_device(side.address);
}

Route route_of(const CUDA_MEMCPY3D& asked, const Box& box) {
  const bool from = device_side(asked.srcMemoryType, box.from), to = device_side(asked.dstMemoryType, box.to);
  if (to) return from ? Route::within_device : Route::to_device;
  return from ? Route::to_host : Route::within_host;
}

}  // namespace

CUDA_MEMCPY3D in_3d(const CUDA_MEMCPY2D& flat) {
  CUDA_MEMCPY3D c{};
  c.srcXInBytes = flat.srcXInBytes;
  c.srcY = flat.srcY;
  c.srcMemoryType = flat.srcMemoryType;
  c.srcHost = flat.srcHost;
  c.srcDevice = flat.srcDevice;
  c.srcArray = flat.srcArray;
  c.srcPitch = flat.srcPitch;
  c.dstXInBytes = flat.dstXInBytes;
  c.dstY = flat.dstY;
  c.dstMemoryType = flat.dstMemoryType;
  c.dstHost = flat.dstHost;
  c.dstDevice = flat.dstDevice;
  c.dstArray = flat.dstArray;
  c.dstPitch = flat.dstPitch;
  c.WidthInBytes = flat.WidthInBytes;
  c.Height = flat.Height;
  c.Depth = 1;
  return c;
}

CUresult plan_copy(const CUDA_MEMCPY3D& asked, CopyPlan& out) {
  if (asked.reserved0 || asked.reserved1) return CUDA_ERROR_INVALID_VALUE;
  const Extent3d extent{asked.WidthInBytes, asked.Height, asked.Depth};
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(extent.width, extent.height, &bytes) ||
      __builtin_mul_overflow(bytes, extent.depth, &bytes))
    return CUDA_ERROR_INVALID_VALUE;
  out.box = {.to = {}, .from = {}, .width = extent.width, .height = extent.height, .depth = extent.depth};
  if (const CUresult failed = side_of(source_of(asked), extent, out.box.from)) return failed;
  if (const CUresult failed = side_of(destination_of(asked), extent, out.box.to)) return failed;
  out.route = route_of(asked, out.box);
  return CUDA_SUCCESS;
}

CUresult plan_array_row(CUarray handle, std::size_t offset, std::size_t bytes, Side& out) {
  const auto array = find_array(handle);
  if (!array) return CUDA_ERROR_INVALID_HANDLE;
  const bool one_dimension = array->shape.Height <= 1 && array->shape.Depth <= 1;
  if (!one_dimension || offset % array->element_bytes || bytes % array->element_bytes ||
      !inside(offset, bytes, array->row_bytes()))
    return CUDA_ERROR_INVALID_VALUE;
  out = {array->base + offset, array->pitch, array->pitch};
  return CUDA_SUCCESS;
}

}  // namespace lull::sim

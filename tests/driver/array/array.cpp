#include "tests/driver/array/array.h"

#include <algorithm>
#include <bit>

#include "tests/driver/array/format.h"
#include "tests/driver/context/attributes.h"
#include "tests/driver/registry.h"

namespace lull::sim {
namespace {

constexpr std::size_t row_alignment = 512;

// What bounds each extent of a kind of array; absent: that extent is zero.
constexpr auto absent = static_cast<CUdevice_attribute>(0);
struct Bounds {
  CUdevice_attribute width, height = absent, depth = absent;
};
#define BOUND(name) CU_DEVICE_ATTRIBUTE_MAXIMUM_##name
constexpr Bounds texture_1d{BOUND(TEXTURE1D_WIDTH)};
constexpr Bounds texture_2d{BOUND(TEXTURE2D_WIDTH), BOUND(TEXTURE2D_HEIGHT)};
constexpr Bounds texture_3d{BOUND(TEXTURE3D_WIDTH), BOUND(TEXTURE3D_HEIGHT), BOUND(TEXTURE3D_DEPTH)};
constexpr Bounds texture_3d_alternate{BOUND(TEXTURE3D_WIDTH_ALTERNATE), BOUND(TEXTURE3D_HEIGHT_ALTERNATE),
                                      BOUND(TEXTURE3D_DEPTH_ALTERNATE)};
constexpr Bounds texture_1d_layered{BOUND(TEXTURE1D_LAYERED_WIDTH), absent, BOUND(TEXTURE1D_LAYERED_LAYERS)};
constexpr Bounds texture_2d_layered{BOUND(TEXTURE2D_LAYERED_WIDTH), BOUND(TEXTURE2D_LAYERED_HEIGHT),
                                    BOUND(TEXTURE2D_LAYERED_LAYERS)};
constexpr Bounds texture_gather{BOUND(TEXTURE2D_GATHER_WIDTH), BOUND(TEXTURE2D_GATHER_HEIGHT)};
constexpr Bounds texture_cube{BOUND(TEXTURECUBEMAP_WIDTH), BOUND(TEXTURECUBEMAP_WIDTH),
                              BOUND(TEXTURECUBEMAP_LAYERED_LAYERS)};
constexpr Bounds texture_cube_layered{BOUND(TEXTURECUBEMAP_LAYERED_WIDTH), BOUND(TEXTURECUBEMAP_LAYERED_WIDTH),
                                      BOUND(TEXTURECUBEMAP_LAYERED_LAYERS)};
constexpr Bounds surface_1d{BOUND(SURFACE1D_WIDTH)};
constexpr Bounds surface_2d{BOUND(SURFACE2D_WIDTH), BOUND(SURFACE2D_HEIGHT)};
constexpr Bounds surface_3d{BOUND(SURFACE3D_WIDTH), BOUND(SURFACE3D_HEIGHT), BOUND(SURFACE3D_DEPTH)};
constexpr Bounds surface_1d_layered{BOUND(SURFACE1D_LAYERED_WIDTH), absent, BOUND(SURFACE1D_LAYERED_LAYERS)};
constexpr Bounds surface_2d_layered{BOUND(SURFACE2D_LAYERED_WIDTH), BOUND(SURFACE2D_LAYERED_HEIGHT),
                                    BOUND(SURFACE2D_LAYERED_LAYERS)};
constexpr Bounds surface_cube{BOUND(SURFACECUBEMAP_WIDTH), BOUND(SURFACECUBEMAP_WIDTH),
                              BOUND(SURFACECUBEMAP_LAYERED_LAYERS)};
constexpr Bounds surface_cube_layered{BOUND(SURFACECUBEMAP_LAYERED_WIDTH), BOUND(SURFACECUBEMAP_LAYERED_WIDTH),
                                      BOUND(SURFACECUBEMAP_LAYERED_LAYERS)};
constexpr Bounds mipmapped_1d{BOUND(TEXTURE1D_MIPMAPPED_WIDTH)};
constexpr Bounds mipmapped_2d{BOUND(TEXTURE2D_MIPMAPPED_WIDTH), BOUND(TEXTURE2D_MIPMAPPED_HEIGHT)};
#undef BOUND

constexpr unsigned known_flags = CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_CUBEMAP |
                                 CUDA_ARRAY3D_TEXTURE_GATHER | CUDA_ARRAY3D_DEPTH_TEXTURE |
                                 CUDA_ARRAY3D_COLOR_ATTACHMENT | CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING |
                                 CUDA_ARRAY3D_VIDEO_ENCODE_DECODE;
constexpr unsigned absent_flags =
    CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING | CUDA_ARRAY3D_VIDEO_ENCODE_DECODE;

using Shape = CUDA_ARRAY3D_DESCRIPTOR;

bool within(std::size_t extent, CUdevice_attribute bound, const Device& device) {
  return extent <= (bound == absent ? 0 : static_cast<std::size_t>(attribute_of(device.ordinal, bound)));
}
bool within(const Shape& shape, const Bounds& bounds, const Device& device) {
  return within(shape.Width, bounds.width, device) && within(shape.Height, bounds.height, device) &&
         within(shape.Depth, bounds.depth, device);
}

bool layered(const Shape& shape) { return shape.Flags & CUDA_ARRAY3D_LAYERED; }
bool cubemap(const Shape& shape) { return shape.Flags & CUDA_ARRAY3D_CUBEMAP; }

// What must be zero, and what must not, by the kind that the flags and the zero extents make it.
bool well_formed(const Shape& shape) {
  if (shape.Width == 0) return false;
  if (cubemap(shape))
    return shape.Width == shape.Height && shape.Depth != 0 && (layered(shape) ? shape.Depth % 6 : shape.Depth - 6) == 0;
  if (layered(shape)) return shape.Depth != 0;
  return shape.Depth == 0 || shape.Height != 0;
}

bool texture_fits(const Shape& shape, const Device& device) {
  if (cubemap(shape)) return within(shape, layered(shape) ? texture_cube_layered : texture_cube, device);
  if (layered(shape)) return within(shape, shape.Height ? texture_2d_layered : texture_1d_layered, device);
  if (shape.Depth) return within(shape, texture_3d, device) || within(shape, texture_3d_alternate, device);
  return within(shape, shape.Height ? texture_2d : texture_1d, device);
}

bool surface_fits(const Shape& shape, const Device& device) {
  if (cubemap(shape)) return within(shape, layered(shape) ? surface_cube_layered : surface_cube, device);
  if (layered(shape)) return within(shape, shape.Height ? surface_2d_layered : surface_1d_layered, device);
  if (shape.Depth) return within(shape, surface_3d, device);
  return within(shape, shape.Height ? surface_2d : surface_1d, device);
}

// The header's table of extents.
bool extents_fit(const Shape& shape, const Device& device) {
  if (!well_formed(shape) || !texture_fits(shape, device)) return false;
  if ((shape.Flags & CUDA_ARRAY3D_SURFACE_LDST) && !surface_fits(shape, device)) return false;
  const bool gather = shape.Flags & CUDA_ARRAY3D_TEXTURE_GATHER;
  return !gather || (shape.Height != 0 && within(shape, texture_gather, device));
}

bool channels_fit(const Format& format, unsigned channels) {
  if (format.channels) return channels == format.channels;
  return channels == 1 || channels == 2 || channels == 4;
}

// NV12 halves its second plane in both directions.
bool planar_fits(const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  return shape.Width % 2 == 0 && shape.Height != 0 && shape.Height % 2 == 0 && shape.Depth == 0;
}

CUDA_ARRAY3D_DESCRIPTOR level_of(const CUDA_ARRAY3D_DESCRIPTOR& shape, unsigned level) {
  const auto halved = [level](std::size_t extent) {
    return extent ? std::max<std::size_t>(extent >> level, 1) : extent;
  };
  CUDA_ARRAY3D_DESCRIPTOR smaller = shape;
  smaller.Width = halved(shape.Width);
  smaller.Height = halved(shape.Height);
  if (!layered(shape) && !cubemap(shape)) smaller.Depth = halved(shape.Depth);
  return smaller;
}

}  // namespace

std::shared_ptr<Array> find_array(CUarray handle) { return registry<Array>().find(handle); }
std::shared_ptr<MipmappedArray> find_mipmapped(CUmipmappedArray handle) {
  return registry<MipmappedArray>().find(handle);
}

CUresult plan_array(const Device& device, const CUDA_ARRAY3D_DESCRIPTOR& shape, Array& out) {
  const Format format = format_of(shape.Format);
  if (format.kind == FormatKind::unknown || (shape.Flags & ~known_flags)) return CUDA_ERROR_INVALID_VALUE;
  if (format.kind == FormatKind::absent || (shape.Flags & absent_flags)) return CUDA_ERROR_NOT_SUPPORTED;
  if (!channels_fit(format, shape.NumChannels) || !extents_fit(shape, device)) return CUDA_ERROR_INVALID_VALUE;
  if (format.kind == FormatKind::planar && !planar_fits(shape)) return CUDA_ERROR_INVALID_VALUE;
  out.shape = shape;
  // The first plane of a planar array gives it its rows; the second comes behind, half as many.
  out.element_bytes = format.kind == FormatKind::planar ? 1 : format.channel_bytes * shape.NumChannels;
  out.pitch = (out.row_bytes() + row_alignment - 1) / row_alignment * row_alignment;
  return CUDA_SUCCESS;
}

CUresult plan_levels(const Device& device, const CUDA_ARRAY3D_DESCRIPTOR& shape, unsigned levels,
                     std::vector<Array>& out) {
  const bool solid = !layered(shape) && !cubemap(shape);  // its depth halves with the rest
  if (solid && shape.Depth == 0 && !within(shape, shape.Height ? mipmapped_2d : mipmapped_1d, device))
    return CUDA_ERROR_INVALID_VALUE;
  if (format_of(shape.Format).kind == FormatKind::planar) return CUDA_ERROR_INVALID_VALUE;
  Array whole;
  if (const CUresult failed = plan_array(device, shape, whole)) return failed;
  const std::size_t longest = std::max({shape.Width, shape.Height, solid ? shape.Depth : std::size_t{0}});
  const unsigned most = static_cast<unsigned>(std::bit_width(longest));  // 1 + floor(log2)
  for (unsigned level = 0; level < std::clamp(levels, 1u, most); ++level) {
    Array made;
    if (const CUresult failed = plan_array(device, level_of(shape, level), made)) return failed;
    out.push_back(std::move(made));
  }
  return CUDA_SUCCESS;
}

void drop_arrays_of(Context& context) {
  for (const auto& mipmapped : registry<MipmappedArray>().all()) {
    if (mipmapped->context == &context) registry<MipmappedArray>().remove(mipmapped.get());
  }
  for (const auto& array : registry<Array>().all()) {
    if (array->context == &context) registry<Array>().remove(array.get());
  }
}

}  // namespace lull::sim

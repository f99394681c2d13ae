#include "tests/driver/texture/texture.h"

#include <algorithm>

#include "tests/driver/array/array.h"
#include "tests/driver/array/format.h"
#include "tests/driver/context/attributes.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/registry.h"

namespace lull::sim {
namespace {

constexpr unsigned known_flags = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB |
                                 CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION | CU_TRSF_SEAMLESS_CUBEMAP;

std::size_t limit(const Device& device, CUdevice_attribute attribute) {
  return static_cast<std::size_t>(attribute_of(device.ordinal, attribute));
}

bool memory_there(CUdeviceptr address, std::size_t bytes) {
  const Touch touch = classify(address, bytes, CU_MEM_ACCESS_FLAGS_PROT_READ);
  return touch == Touch::device || touch == Touch::known_host;
}

bool linear_fits(const CUDA_RESOURCE_DESC& resource, const Device& device) {
  const auto& linear = resource.res.linear;
  const std::size_t element = plain_element_bytes(linear.format, linear.numChannels);
  return element && linear.devPtr && linear.devPtr % limit(device, CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT) == 0 &&
         linear.sizeInBytes != 0 &&
         linear.sizeInBytes / element <= limit(device, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH) &&
         memory_there(linear.devPtr, linear.sizeInBytes);
}

bool pitched_fits(const CUDA_RESOURCE_DESC& resource, const Device& device) {
  const auto& pitched = resource.res.pitch2D;
  const std::size_t element = plain_element_bytes(pitched.format, pitched.numChannels);
  if (!element || !pitched.devPtr || pitched.devPtr % limit(device, CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT))
    return false;
  if (pitched.width == 0 || pitched.width > limit(device, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH) ||
      pitched.height == 0 || pitched.height > limit(device, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_HEIGHT))
    return false;
  if (pitched.pitchInBytes % limit(device, CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT) ||
      pitched.pitchInBytes > limit(device, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH) ||
      pitched.pitchInBytes < pitched.width * element)
    return false;
  return memory_there(pitched.devPtr, (pitched.height - 1) * pitched.pitchInBytes + pitched.width * element);
}

}  // namespace

std::size_t plain_element_bytes(CUarray_format format, unsigned channels) {
  const Format known = format_of(format);
  const bool fits = known.kind == FormatKind::plain && (channels == 1 || channels == 2 || channels == 4);
  return fits ? known.channel_bytes * channels : 0;
}

bool known_mode(CUaddress_mode mode) { return mode >= CU_TR_ADDRESS_MODE_WRAP && mode <= CU_TR_ADDRESS_MODE_BORDER; }
bool known_filter(CUfilter_mode mode) { return mode == CU_TR_FILTER_MODE_POINT || mode == CU_TR_FILTER_MODE_LINEAR; }

CUresult check_resource(const CUDA_RESOURCE_DESC& resource, const Device& device) {
  bool fits = false;
  switch (resource.resType) {
    case CU_RESOURCE_TYPE_ARRAY: fits = find_array(resource.res.array.hArray) != nullptr; break;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY: fits = find_mipmapped(resource.res.mipmap.hMipmappedArray) != nullptr; break;
    case CU_RESOURCE_TYPE_LINEAR: fits = linear_fits(resource, device); break;
    case CU_RESOURCE_TYPE_PITCH2D: fits = pitched_fits(resource, device); break;
    default: break;
  }
  return fits && resource.flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult check_texture(const CUDA_TEXTURE_DESC& texture) {
  const bool modes = std::ranges::all_of(texture.addressMode, known_mode);
  const bool filters = known_filter(texture.filterMode) && known_filter(texture.mipmapFilterMode);
  return modes && filters && (texture.flags & ~known_flags) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void drop_textures_of(Context& context) {
  for (const auto& texture : registry<TextureObject>().all()) {
    if (texture->context == &context) registry<TextureObject>().remove(texture.get());
  }
  for (const auto& surface : registry<SurfaceObject>().all()) {
    if (surface->context == &context) registry<SurfaceObject>().remove(surface.get());
  }
}

}  // namespace lull::sim

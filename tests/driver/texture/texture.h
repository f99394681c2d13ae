// Texture and surface objects and texture references: what a program says of them is checked, kept and told again.
// Frameworks create them; no kernel here can sample one, and PTX that does is refused when it is loaded.
#pragma once
#include <optional>

#include "tests/driver/context/context.h"

namespace lull::sim {

struct TextureObject {
  CUDA_RESOURCE_DESC resource;
  CUDA_TEXTURE_DESC texture;
  std::optional<CUDA_RESOURCE_VIEW_DESC> view;
  Context* context;  // compared only
};
struct SurfaceObject {
  CUDA_RESOURCE_DESC resource;
  Context* context;
};

// What memory or array a descriptor names: CUDA_ERROR_INVALID_VALUE unless it can be sampled on this device.
CUresult check_resource(const CUDA_RESOURCE_DESC& resource, const Device& device);
CUresult check_texture(const CUDA_TEXTURE_DESC& texture);
bool known_mode(CUaddress_mode mode);
bool known_filter(CUfilter_mode mode);

// Elements of a plain format, as memory without an array may have them; 0 if it is none or the channels do not fit.
std::size_t plain_element_bytes(CUarray_format format, unsigned channels);

// Before the arrays of a context go.
void drop_textures_of(Context& context);

}  // namespace lull::sim

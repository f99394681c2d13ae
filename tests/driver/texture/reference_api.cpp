// Texture references of a program's own making (deprecated, and bound to no module).
#include <algorithm>
#include <array>

#include "tests/driver/array/array.h"
#include "tests/driver/context/attributes.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"
#include "tests/driver/texture/texture.h"

namespace lull::sim {

struct TextureReference {
  CUarray array = nullptr;
  CUmipmappedArray mipmapped = nullptr;
  CUdeviceptr address = 0;
  CUarray_format format = CU_AD_FORMAT_FLOAT;
  int components = 1;
  std::array<CUaddress_mode, 3> modes{CU_TR_ADDRESS_MODE_CLAMP, CU_TR_ADDRESS_MODE_CLAMP, CU_TR_ADDRESS_MODE_CLAMP};
  CUfilter_mode filter = CU_TR_FILTER_MODE_POINT, mipmap_filter = CU_TR_FILTER_MODE_POINT;
  float bias = 0, least_level = 0, most_level = 0;
  unsigned anisotropy = 1, flags = 0;
  std::array<float, 4> border{};

  void unbind() {
    array = nullptr;
    mipmapped = nullptr;
    address = 0;
  }
};

namespace api {
namespace {

// Every change and question: a current context, a reference that is, and arguments that make sense.
template <class F>
CUresult with(CUtexref handle, bool sensible, F&& change) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto reference = registry<TextureReference>().find(handle);
  if (!reference || !sensible) return CUDA_ERROR_INVALID_VALUE;
  change(*reference);
  return CUDA_SUCCESS;
}

template <class T, class U>
CUresult answer(T* out, CUtexref handle, U TextureReference::*member) {
  return with(handle, out != nullptr, [&](const TextureReference& r) { *out = static_cast<T>(r.*member); });
}

// What was bound, or the error of something else being bound.
template <class T>
CUresult bound(T* out, CUtexref handle, T TextureReference::*member) {
  const auto reference = registry<TextureReference>().find(handle);
  return with(handle, out && reference && (*reference).*member, [&](const TextureReference& r) { *out = r.*member; });
}

bool readable(CUdeviceptr address, std::size_t bytes) {
  const Touch touch = classify(address, bytes, CU_MEM_ACCESS_FLAGS_PROT_READ);
  return touch == Touch::device || touch == Touch::known_host;
}

std::size_t limit(const Context& context, CUdevice_attribute attribute) {
  return static_cast<std::size_t>(attribute_of(context.device().ordinal, attribute));
}

bool pitched_fits(const CUDA_ARRAY_DESCRIPTOR& desc, CUdeviceptr address, std::size_t pitch, const Context& context) {
  const std::size_t element = plain_element_bytes(desc.Format, desc.NumChannels);
  if (!element || desc.Width == 0 || desc.Height == 0 ||
      desc.Width > limit(context, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH) ||
      desc.Height > limit(context, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_HEIGHT))
    return false;
  if (address % limit(context, CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT) ||
      pitch % limit(context, CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT) ||
      pitch > limit(context, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH) || pitch < desc.Width * element)
    return false;
  return readable(address, (desc.Height - 1) * pitch + desc.Width * element);
}

}  // namespace

CUresult cuTexRefCreate(CUtexref* out) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUtexref>(registry<TextureReference>().add(std::make_shared<TextureReference>()));
  return CUDA_SUCCESS;
}
CUresult cuTexRefDestroy(CUtexref r) {
  return registry<TextureReference>().remove(r) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuTexRefSetArray(CUtexref r, CUarray array, unsigned flags) {
  const auto found = find_array(array);
  return with(r, found && flags == CU_TRSA_OVERRIDE_FORMAT, [&](TextureReference& t) {
    t.unbind();
    t.array = array;
    t.format = found->shape.Format;
    t.components = static_cast<int>(found->shape.NumChannels);
  });
}
CUresult cuTexRefSetMipmappedArray(CUtexref r, CUmipmappedArray mipmapped, unsigned flags) {
  const auto found = find_mipmapped(mipmapped);
  return with(r, found && flags == CU_TRSA_OVERRIDE_FORMAT, [&](TextureReference& t) {
    t.unbind();
    t.mipmapped = mipmapped;
    t.format = found->levels[0]->shape.Format;
    t.components = static_cast<int>(found->levels[0]->shape.NumChannels);
  });
}

// An address that is not aligned is bound from the aligned one before it; the kernel is to add the rest.
CUresult cuTexRefSetAddress_v2(size_t* offset, CUtexref r, CUdeviceptr dptr, size_t bytes) {
  const Found context = current_context();
  if (!context) return context.error;
  const std::size_t rest = dptr % limit(*context, CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
  const bool sensible = bytes != 0 && readable(dptr, bytes) && (offset || rest == 0);
  return with(r, sensible, [&](TextureReference& t) {
    if (offset) *offset = rest;
    t.unbind();
    t.address = dptr - rest;
  });
}
CUresult cuTexRefSetAddress2D_v3(CUtexref r, const CUDA_ARRAY_DESCRIPTOR* desc, CUdeviceptr dptr, size_t pitch) {
  const Found context = current_context();
  if (!context) return context.error;
  return with(r, desc && pitched_fits(*desc, dptr, pitch, *context), [&](TextureReference& t) {
    t.unbind();
    t.address = dptr;
    t.format = desc->Format;
    t.components = static_cast<int>(desc->NumChannels);
  });
}

CUresult cuTexRefSetFormat(CUtexref r, CUarray_format format, int components) {
  const bool sensible = components > 0 && plain_element_bytes(format, static_cast<unsigned>(components)) != 0;
  return with(r, sensible, [&](TextureReference& t) {
    t.format = format;
    t.components = components;
  });
}
CUresult cuTexRefSetAddressMode(CUtexref r, int dim, CUaddress_mode mode) {
  return with(r, dim >= 0 && dim < 3 && known_mode(mode),
              [&](TextureReference& t) { t.modes[static_cast<std::size_t>(dim)] = mode; });
}
CUresult cuTexRefSetFilterMode(CUtexref r, CUfilter_mode mode) {
  return with(r, known_filter(mode), [&](TextureReference& t) { t.filter = mode; });
}
CUresult cuTexRefSetMipmapFilterMode(CUtexref r, CUfilter_mode mode) {
  return with(r, known_filter(mode), [&](TextureReference& t) { t.mipmap_filter = mode; });
}
CUresult cuTexRefSetMipmapLevelBias(CUtexref r, float bias) {
  return with(r, true, [&](TextureReference& t) { t.bias = bias; });
}
CUresult cuTexRefSetMipmapLevelClamp(CUtexref r, float least, float most) {
  return with(r, true, [&](TextureReference& t) {
    t.least_level = least;
    t.most_level = most;
  });
}
CUresult cuTexRefSetMaxAnisotropy(CUtexref r, unsigned most) {
  return with(r, true, [&](TextureReference& t) { t.anisotropy = most; });
}
CUresult cuTexRefSetBorderColor(CUtexref r, float* color) {
  return with(r, color != nullptr, [&](TextureReference& t) { std::copy_n(color, t.border.size(), t.border.begin()); });
}
CUresult cuTexRefSetFlags(CUtexref r, unsigned flags) {
  constexpr unsigned known =
      CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB | CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION;
  return with(r, (flags & ~known) == 0, [&](TextureReference& t) { t.flags = flags; });
}

CUresult cuTexRefGetArray(CUarray* out, CUtexref r) { return bound(out, r, &TextureReference::array); }
CUresult cuTexRefGetMipmappedArray(CUmipmappedArray* out, CUtexref r) {
  return bound(out, r, &TextureReference::mipmapped);
}
CUresult cuTexRefGetAddress_v2(CUdeviceptr* out, CUtexref r) { return bound(out, r, &TextureReference::address); }
CUresult cuTexRefGetFormat(CUarray_format* format, int* channels, CUtexref r) {
  return with(r, format || channels, [&](const TextureReference& t) {
    if (format) *format = t.format;
    if (channels) *channels = t.components;
  });
}
CUresult cuTexRefGetAddressMode(CUaddress_mode* mode, CUtexref r, int dim) {
  return with(r, mode && dim >= 0 && dim < 3,
              [&](const TextureReference& t) { *mode = t.modes[static_cast<std::size_t>(dim)]; });
}
CUresult cuTexRefGetFilterMode(CUfilter_mode* mode, CUtexref r) { return answer(mode, r, &TextureReference::filter); }
CUresult cuTexRefGetMipmapFilterMode(CUfilter_mode* mode, CUtexref r) {
  return answer(mode, r, &TextureReference::mipmap_filter);
}
CUresult cuTexRefGetMipmapLevelBias(float* bias, CUtexref r) { return answer(bias, r, &TextureReference::bias); }
CUresult cuTexRefGetMipmapLevelClamp(float* least, float* most, CUtexref r) {
  return with(r, least && most, [&](const TextureReference& t) {
    *least = t.least_level;
    *most = t.most_level;
  });
}
CUresult cuTexRefGetMaxAnisotropy(int* most, CUtexref r) { return answer(most, r, &TextureReference::anisotropy); }
CUresult cuTexRefGetBorderColor(float* color, CUtexref r) {
  return with(r, color != nullptr,
              [&](const TextureReference& t) { std::copy(t.border.begin(), t.border.end(), color); });
}
CUresult cuTexRefGetFlags(unsigned* flags, CUtexref r) { return answer(flags, r, &TextureReference::flags); }

}  // namespace api
}  // namespace lull::sim

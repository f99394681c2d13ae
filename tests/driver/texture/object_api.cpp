// Texture and surface objects.
#include <algorithm>

#include "tests/driver/array/array.h"
#include "tests/driver/code/module.h"
#include "tests/driver/context/attributes.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"
#include "tests/driver/texture/texture.h"

namespace lull::sim::api {
namespace {

template <class T>
unsigned long long handle_of(const T* object) {
  return reinterpret_cast<std::uintptr_t>(object);
}
template <class T>
std::shared_ptr<T> find(unsigned long long handle) {
  return registry<T>().find(reinterpret_cast<const void*>(handle));
}

// A view is of an array, in a format that is listed, of levels and layers in their order.
CUresult check_view(const CUDA_RESOURCE_VIEW_DESC& view, const CUDA_RESOURCE_DESC& of) {
  const bool array = of.resType == CU_RESOURCE_TYPE_ARRAY || of.resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
  const bool format = view.format >= CU_RES_VIEW_FORMAT_NONE && view.format <= CU_RES_VIEW_FORMAT_UNSIGNED_BC7;
  const bool ordered = view.firstMipmapLevel <= view.lastMipmapLevel && view.firstLayer <= view.lastLayer;
  return array && format && ordered ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool surface_can_be_made_of(CUarray handle) {
  const auto array = find_array(handle);
  return array && (array->shape.Flags & CUDA_ARRAY3D_SURFACE_LDST);
}

// References are declared in PTX with .texref and .surfref, which is refused: no module has one.
CUresult no_reference_in(CUmodule hmod, const void* out, const char* name) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!out || !name) return CUDA_ERROR_INVALID_VALUE;
  return registry<CodeModule>().find(hmod) ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

CUresult cuTexObjectCreate(CUtexObject* out, const CUDA_RESOURCE_DESC* resource, const CUDA_TEXTURE_DESC* texture,
                           const CUDA_RESOURCE_VIEW_DESC* view) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!out || !resource || !texture) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = check_resource(*resource, context->device())) return refused;
  if (const CUresult refused = check_texture(*texture)) return refused;
  if (const CUresult refused = view ? check_view(*view, *resource) : CUDA_SUCCESS) return refused;
  auto made = std::make_shared<TextureObject>(TextureObject{*resource, *texture, std::nullopt, context.context.get()});
  if (view) made->view = *view;
  *out = handle_of(registry<TextureObject>().add(std::move(made)));
  return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject object) {
  return registry<TextureObject>().remove(reinterpret_cast<const void*>(object)) ? CUDA_SUCCESS
                                                                                 : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* desc, CUtexObject object) {
  const auto found = find<TextureObject>(object);
  if (!desc || !found) return CUDA_ERROR_INVALID_VALUE;
  *desc = found->resource;
  return CUDA_SUCCESS;
}
CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* desc, CUtexObject object) {
  const auto found = find<TextureObject>(object);
  if (!desc || !found) return CUDA_ERROR_INVALID_VALUE;
  *desc = found->texture;
  return CUDA_SUCCESS;
}
CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* desc, CUtexObject object) {
  const auto found = find<TextureObject>(object);
  if (!desc || !found || !found->view) return CUDA_ERROR_INVALID_VALUE;
  *desc = *found->view;
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectCreate(CUsurfObject* out, const CUDA_RESOURCE_DESC* resource) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!out || !resource || resource->resType != CU_RESOURCE_TYPE_ARRAY || resource->flags != 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (!surface_can_be_made_of(resource->res.array.hArray)) return CUDA_ERROR_INVALID_VALUE;
  *out = handle_of(
      registry<SurfaceObject>().add(std::make_shared<SurfaceObject>(SurfaceObject{*resource, context.context.get()})));
  return CUDA_SUCCESS;
}
CUresult cuSurfObjectDestroy(CUsurfObject object) {
  return registry<SurfaceObject>().remove(reinterpret_cast<const void*>(object)) ? CUDA_SUCCESS
                                                                                 : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* desc, CUsurfObject object) {
  const auto found = find<SurfaceObject>(object);
  if (!desc || !found) return CUDA_ERROR_INVALID_VALUE;
  *desc = found->resource;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t* width, CUarray_format format, unsigned channels, CUdevice dev) {
  if (!device_of(dev)) return CUDA_ERROR_INVALID_DEVICE;
  if (!width || !plain_element_bytes(format, channels)) return CUDA_ERROR_INVALID_VALUE;
  *width = static_cast<std::size_t>(attribute_of(dev, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH));
  return CUDA_SUCCESS;
}

CUresult cuModuleGetTexRef(CUtexref* out, CUmodule hmod, const char* name) { return no_reference_in(hmod, out, name); }
CUresult cuModuleGetSurfRef(CUsurfref* out, CUmodule hmod, const char* name) {
  return no_reference_in(hmod, out, name);
}

}  // namespace lull::sim::api

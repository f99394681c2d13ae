#include <bit>
#include <cstring>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUarray array_of(unsigned flags) {
  const CUDA_ARRAY3D_DESCRIPTOR shape{64, 64, 0, CU_AD_FORMAT_FLOAT, 1, flags};
  CUarray array = nullptr;
  OK(cuArray3DCreate_v2(&array, &shape));
  return array;
}

CUDA_RESOURCE_DESC of_array(CUarray array) {
  CUDA_RESOURCE_DESC resource{};
  resource.resType = CU_RESOURCE_TYPE_ARRAY;
  resource.res.array.hArray = array;
  return resource;
}

CUDA_RESOURCE_DESC linear(CUdeviceptr at, std::size_t bytes) {
  CUDA_RESOURCE_DESC resource{};
  resource.resType = CU_RESOURCE_TYPE_LINEAR;
  resource.res.linear = {at, CU_AD_FORMAT_FLOAT, 4, bytes};
  return resource;
}

CUDA_RESOURCE_DESC pitched(CUdeviceptr at, std::size_t width, std::size_t height, std::size_t pitch) {
  CUDA_RESOURCE_DESC resource{};
  resource.resType = CU_RESOURCE_TYPE_PITCH2D;
  resource.res.pitch2D = {at, CU_AD_FORMAT_FLOAT, 1, width, height, pitch};
  return resource;
}

CUresult texture_of(const CUDA_RESOURCE_DESC& resource) {
  const CUDA_TEXTURE_DESC texture{};
  CUtexObject object = 0;
  const CUresult result = cuTexObjectCreate(&object, &resource, &texture, nullptr);
  if (result == CUDA_SUCCESS) OK(cuTexObjectDestroy(object));
  return result;
}

struct Reference {
  Reference() { OK(cuTexRefCreate(&handle)); }
  ~Reference() { (void)cuTexRefDestroy(handle); }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  CUtexref handle = nullptr;
};

}  // namespace

TEST_CASE("a texture object tells its descriptors as they were given") {
  const TestContext context;
  const CUarray array = array_of(0);
  const CUDA_RESOURCE_DESC resource = of_array(array);
  CUDA_TEXTURE_DESC texture{};
  texture.addressMode[1] = CU_TR_ADDRESS_MODE_MIRROR;
  texture.filterMode = CU_TR_FILTER_MODE_LINEAR;
  texture.borderColor[2] = 0.5f;
  CUDA_RESOURCE_VIEW_DESC view{};
  view.format = CU_RES_VIEW_FORMAT_UINT_1X32;
  view.width = view.height = 64;
  CUtexObject object = 0;
  OK(cuTexObjectCreate(&object, &resource, &texture, &view));
  CUDA_RESOURCE_DESC resource_again{};
  CUDA_TEXTURE_DESC texture_again{};
  CUDA_RESOURCE_VIEW_DESC view_again{};
  OK(cuTexObjectGetResourceDesc(&resource_again, object));
  OK(cuTexObjectGetTextureDesc(&texture_again, object));
  OK(cuTexObjectGetResourceViewDesc(&view_again, object));
  CHECK_EQ(resource_again.res.array.hArray, array);
  CHECK_EQ(std::memcmp(&texture_again, &texture, sizeof texture), 0);
  CHECK_EQ(view_again.format, CU_RES_VIEW_FORMAT_UINT_1X32);
  OK(cuTexObjectDestroy(object));
  CHECK_EQ(cuTexObjectDestroy(object), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuTexObjectGetResourceDesc(&resource_again, object), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a texture without a view has none to tell, and only arrays may have one") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 4096));
  const CUDA_RESOURCE_DESC memory = linear(d, 4096), resource = of_array(array_of(0));
  const CUDA_TEXTURE_DESC texture{};
  CUDA_RESOURCE_VIEW_DESC view{};
  CUtexObject object = 0;
  CHECK_EQ(cuTexObjectCreate(&object, &memory, &texture, &view), CUDA_ERROR_INVALID_VALUE);
  view.firstMipmapLevel = 1;
  CHECK_EQ(cuTexObjectCreate(&object, &resource, &texture, &view), CUDA_ERROR_INVALID_VALUE);
  OK(cuTexObjectCreate(&object, &resource, &texture, nullptr));
  CHECK_EQ(cuTexObjectGetResourceViewDesc(&view, object), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("linear memory under a texture is aligned, allocated, and of elements that a texture can have") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 4096));
  OK(texture_of(linear(d, 4096)));
  CHECK_EQ(texture_of(linear(d + 16, 1024)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(texture_of(linear(d, 4097)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(texture_of(linear(d, 0)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(texture_of(linear(0, 4096)), CUDA_ERROR_INVALID_VALUE);
  auto three = linear(d, 4096);
  three.res.linear.numChannels = 3;
  CHECK_EQ(texture_of(three), CUDA_ERROR_INVALID_VALUE);
  auto flagged = linear(d, 4096);
  flagged.flags = 1;
  CHECK_EQ(texture_of(flagged), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("pitched memory under a texture has a pitch that is aligned and holds its rows") {
  const TestContext context;
  CUdeviceptr d = 0;
  std::size_t pitch = 0;
  OK(cuMemAllocPitch_v2(&d, &pitch, 400, 10, 4));
  OK(texture_of(pitched(d, 100, 10, pitch)));
  CHECK_EQ(texture_of(pitched(d, 100, 10, pitch + 4)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(texture_of(pitched(d, 200, 10, pitch)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(texture_of(pitched(d, 100, 11, pitch)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(texture_of(pitched(d, 0, 10, pitch)), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a texture has known address and filter modes and flags") {
  const TestContext context;
  const CUDA_RESOURCE_DESC resource = of_array(array_of(0));
  CUtexObject object = 0;
  CUDA_TEXTURE_DESC wrong{};
  wrong.addressMode[2] = std::bit_cast<CUaddress_mode>(4);
  CHECK_EQ(cuTexObjectCreate(&object, &resource, &wrong, nullptr), CUDA_ERROR_INVALID_VALUE);
  wrong = {};
  wrong.filterMode = std::bit_cast<CUfilter_mode>(2);
  CHECK_EQ(cuTexObjectCreate(&object, &resource, &wrong, nullptr), CUDA_ERROR_INVALID_VALUE);
  wrong = {};
  wrong.flags = 0x1000;
  CHECK_EQ(cuTexObjectCreate(&object, &resource, &wrong, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuTexObjectCreate(&object, &resource, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a surface object needs an array made for surfaces") {
  const TestContext context;
  CUsurfObject object = 0;
  const CUDA_RESOURCE_DESC plain = of_array(array_of(0)), made_for_it = of_array(array_of(CUDA_ARRAY3D_SURFACE_LDST));
  CHECK_EQ(cuSurfObjectCreate(&object, &plain), CUDA_ERROR_INVALID_VALUE);
  OK(cuSurfObjectCreate(&object, &made_for_it));
  CUDA_RESOURCE_DESC again{};
  OK(cuSurfObjectGetResourceDesc(&again, object));
  CHECK_EQ(again.res.array.hArray, made_for_it.res.array.hArray);
  OK(cuSurfObjectDestroy(object));
  CHECK_EQ(cuSurfObjectDestroy(object), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("texture objects go with their context") {
  CUtexObject object = 0;
  CUDA_RESOURCE_DESC again{};
  {
    const TestContext context;
    const CUDA_RESOURCE_DESC resource = of_array(array_of(0));
    const CUDA_TEXTURE_DESC texture{};
    OK(cuTexObjectCreate(&object, &resource, &texture, nullptr));
  }
  CHECK_EQ(cuTexObjectGetResourceDesc(&again, object), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a texture reference is bound to one thing at a time and takes its format") {
  const TestContext context;
  const Reference r;
  CUarray array = nullptr;
  CUdeviceptr d = 0, bound = 0;
  CHECK_EQ(cuTexRefGetArray(&array, r.handle), CUDA_ERROR_INVALID_VALUE);  // nothing is bound yet
  const CUarray mine = array_of(0);
  CHECK_EQ(cuTexRefSetArray(r.handle, mine, 0), CUDA_ERROR_INVALID_VALUE);
  OK(cuTexRefSetArray(r.handle, mine, CU_TRSA_OVERRIDE_FORMAT));
  OK(cuTexRefGetArray(&array, r.handle));
  CHECK_EQ(array, mine);
  OK(cuMemAlloc_v2(&d, 4096));
  std::size_t offset = 9;
  OK(cuTexRefSetAddress_v2(&offset, r.handle, d + 16, 1024));
  CHECK_EQ(offset, 16);
  OK(cuTexRefGetAddress_v2(&bound, r.handle));
  CHECK_EQ(bound, d);
  CHECK_EQ(cuTexRefSetAddress_v2(nullptr, r.handle, d + 16, 1024), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuTexRefGetArray(&array, r.handle), CUDA_ERROR_INVALID_VALUE);
  CUarray_format format{};
  int channels = 0;
  OK(cuTexRefGetFormat(&format, &channels, r.handle));
  CHECK_EQ(format, CU_AD_FORMAT_FLOAT);
  CHECK_EQ(channels, 1);
}

TEST_CASE("a texture reference keeps what is set and refuses what is not known") {
  const TestContext context;
  const Reference r;
  OK(cuTexRefSetAddressMode(r.handle, 2, CU_TR_ADDRESS_MODE_BORDER));
  CHECK_EQ(cuTexRefSetAddressMode(r.handle, 3, CU_TR_ADDRESS_MODE_BORDER), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuTexRefSetFormat(r.handle, CU_AD_FORMAT_FLOAT, 3), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuTexRefSetFlags(r.handle, 0x8000), CUDA_ERROR_INVALID_VALUE);
  OK(cuTexRefSetMaxAnisotropy(r.handle, 8));
  OK(cuTexRefSetMipmapLevelClamp(r.handle, 1.0f, 2.0f));
  CUaddress_mode mode{};
  int most = 0;
  float least = 0, highest = 0;
  OK(cuTexRefGetAddressMode(&mode, r.handle, 2));
  OK(cuTexRefGetMaxAnisotropy(&most, r.handle));
  OK(cuTexRefGetMipmapLevelClamp(&least, &highest, r.handle));
  CHECK_EQ(mode, CU_TR_ADDRESS_MODE_BORDER);
  CHECK_EQ(most, 8);
  CHECK_EQ(highest, 2.0f);
  CHECK_EQ(cuTexRefSetMaxAnisotropy(nullptr, 8), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("no module has a texture reference") {
  const TestContext context;
  CUmodule module = nullptr;
  CUtexref reference = nullptr;
  OK(cuFuncGetModule(&module, kernel("add_one")));
  CHECK_EQ(cuModuleGetTexRef(&reference, module, "texture"), CUDA_ERROR_NOT_FOUND);
  CHECK_EQ(cuModuleGetTexRef(&reference, nullptr, "texture"), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("the width of a linear texture is told for formats that it may have") {
  std::size_t width = 0;
  int attribute = 0;
  OK(cuDeviceGetAttribute(&attribute, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH, 0));
  OK(cuDeviceGetTexture1DLinearMaxWidth(&width, CU_AD_FORMAT_HALF, 2, 0));
  CHECK_EQ(width, attribute);
  CHECK_EQ(cuDeviceGetTexture1DLinearMaxWidth(&width, CU_AD_FORMAT_HALF, 3, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuDeviceGetTexture1DLinearMaxWidth(&width, CU_AD_FORMAT_HALF, 2, 5), CUDA_ERROR_INVALID_DEVICE);
}

#include "tests/driver/array/format.h"

namespace lull::sim {

Format format_of(CUarray_format format) {
  switch (static_cast<int>(format)) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8: return {FormatKind::plain, 1, 0};
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF: return {FormatKind::plain, 2, 0};
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT: return {FormatKind::plain, 4, 0};
    case CU_AD_FORMAT_UNORM_INT8X1:
    case CU_AD_FORMAT_SNORM_INT8X1: return {FormatKind::normalised, 1, 1};
    case CU_AD_FORMAT_UNORM_INT8X2:
    case CU_AD_FORMAT_SNORM_INT8X2: return {FormatKind::normalised, 1, 2};
    case CU_AD_FORMAT_UNORM_INT8X4:
    case CU_AD_FORMAT_SNORM_INT8X4:
    case CU_AD_FORMAT_UNORM_INT_101010_2: return {FormatKind::normalised, 1, 4};
    case CU_AD_FORMAT_UNORM_INT16X1:
    case CU_AD_FORMAT_SNORM_INT16X1: return {FormatKind::normalised, 2, 1};
    case CU_AD_FORMAT_UNORM_INT16X2:
    case CU_AD_FORMAT_SNORM_INT16X2: return {FormatKind::normalised, 2, 2};
    case CU_AD_FORMAT_UNORM_INT16X4:
    case CU_AD_FORMAT_SNORM_INT16X4: return {FormatKind::normalised, 2, 4};
    case CU_AD_FORMAT_NV12: return {FormatKind::planar, 1, 3};
    default: break;
  }
  const int number = static_cast<int>(format);
  const bool compressed = number >= CU_AD_FORMAT_BC1_UNORM && number <= CU_AD_FORMAT_BC7_UNORM_SRGB;
  const bool video = number == CU_AD_FORMAT_P010 || (number >= CU_AD_FORMAT_P016 && number <= CU_AD_FORMAT_Y410) ||
                     (number >= CU_AD_FORMAT_Y416 && number <= CU_AD_FORMAT_YUV444_16bit_SemiPlanar);
  return compressed || video ? Format{FormatKind::absent, 0, 0} : Format{};
}

}  // namespace lull::sim

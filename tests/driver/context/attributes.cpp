#include "tests/driver/context/attributes.h"

#include <array>

#include "tests/driver/card/settings.h"

namespace lull::sim {
namespace {

using Values = std::array<int, CU_DEVICE_ATTRIBUTE_MAX>;

Values values_of(const Profile& card) {
  Values values{};
#define ATTRIBUTE(name, value) values[CU_DEVICE_ATTRIBUTE_##name] = card.attribute(#name);
#include "tests/driver/card/attributes.def"
#undef ATTRIBUTE
  return values;
}

}  // namespace

int attribute_of(CUdevice device, CUdevice_attribute attribute) {
  static const Values& values = *new Values(values_of(settings().card));
  if (attribute <= 0 || attribute >= CU_DEVICE_ATTRIBUTE_MAX) return 0;
  // Cards differ in their place on the bus only.
  return attribute == CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID ? device : values[attribute];
}

}  // namespace lull::sim

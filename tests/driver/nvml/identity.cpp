#include "tests/driver/nvml/identity.h"

#include <cstdint>
#include <cstdio>

#include "tests/driver/card/card.h"

namespace lull::sim {

std::string uuid_text(const Card& card) {
  std::uint8_t b[16];
  card.uuid(b);
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", b[i]);
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += two;
  }
  return text;
}

std::string bus_id(unsigned index, bool long_domain) {
  char text[32];
  std::snprintf(text, sizeof text, long_domain ? "%08x:%02x:%02x.0" : "%04x:%02x:%02x.0", 0u, pci_bus, index);
  return text;
}

bool is_bus_id(const char* text, unsigned index) {
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  const bool whole = std::sscanf(text, "%x:%x:%x.%x", &domain, &bus, &device, &function) == 4;
  if (!whole) domain = 0;  // it may be left out
  if (!whole && std::sscanf(text, "%x:%x.%x", &bus, &device, &function) != 3) return false;
  return domain == 0 && bus == pci_bus && device == index && function == 0;
}

}  // namespace lull::sim

// What tells one simulated card from another: the UUID of its file, and its place on a bus that no machine has.
#pragma once
#include <string>

namespace lull::sim {

class Card;

std::string uuid_text(const Card& card);               // GPU-...
std::string bus_id(unsigned index, bool long_domain);  // 00000000:51:00.0, or with a domain of four digits
bool is_bus_id(const char* text, unsigned index);      // any of the forms NVML takes

inline constexpr unsigned pci_bus = 0x51;  // as CU_DEVICE_ATTRIBUTE_PCI_BUS_ID

}  // namespace lull::sim

// What distinguishes one card from another: sizes, rates, costs, device attributes. A profile is a text file of lines
//
//   key = value          # unit and source
//
// in tests/driver/profiles/, or anywhere else. Every key must be given; attribute.NAME lines are those device
// attributes in which the card differs from what the simulator answers otherwise. Sizes and rates carry their unit
// (24GiB, 25GB/s), times too (193us, 97ms). profiles/sim.card is the documented example of all keys.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lull::sim {

// A call of the driver keeps its caller for this long.
struct CallCost {
  std::uint64_t call_ns = 0;
  std::uint64_t mib_ns = 0;  // more for every MiB it is about
};

struct Profile {
  std::string name;  // what cuDeviceGetName answers; it says that the card is simulated
  std::uint64_t memory_bytes = 0;
  std::uint64_t context_bytes = 0, module_bytes = 0;  // native memory

  std::uint64_t link_generation = 0, link_width = 0;  // PCIe
  // Bytes a second while the other direction is idle, and while it is busy.
  std::uint64_t to_device = 0, to_device_duplex = 0;
  std::uint64_t to_host = 0, to_host_duplex = 0;
  std::uint64_t copy_latency_ns = 0;   // of every copy, besides its bytes
  std::uint64_t pageable_percent = 0;  // rate of copies from or to pageable memory, of the rate of page-locked memory
  std::uint64_t staging_bytes = 0;     // pageable copies to the device of up to this size do not wait for the engine
  std::uint64_t device_copy = 0, device_fill = 0;  // bytes a second copied and filled within the card

  CallCost reserve, create, map, set_access, unmap, release;  // of address ranges and physical handles
  CallCost host_register, host_alloc;                         // page-locking
  std::uint64_t launch_ns = 0;                                // a launch keeps the calling thread for this long

  // Real time is modelled time x scale: a machine that cannot move 25 GB a second runs the card in slow motion.
  double time_scale = 1;

  int attribute(std::string_view attribute_name) const;  // the card's own value or the usual one; 0: no such name

  std::map<std::string, int, std::less<>> attributes;  // by name, without CU_DEVICE_ATTRIBUTE_, in capitals
};

// False if the text is no profile; `problem` then says where (file:line), what, and what is expected.
bool parse_profile(std::string_view text, const std::string& file, Profile& out, std::string& problem);

// A built-in profile by name, or, if it has a slash, a file.
bool load_profile(const std::string& name_or_path, Profile& out, std::string& problem);
std::vector<std::string> built_in_profiles();
std::string_view built_in_text(std::string_view name);  // empty: no such profile

}  // namespace lull::sim

// broker/phase_book.h: what hand-overs took, as histograms: the whole, from the request's first packet to the first
// kernel, and its parts. A part is what a phase took beyond the phases before it, so the parts of a switch sum up to
// the whole, although memory leaves and comes at the same time.
#pragma once
#include <array>
#include <optional>

#include "broker/histogram.h"

namespace lull {

struct Switch;

// Who had to go for it.
enum class SwitchKind : std::uint8_t { preemption, handover, vacant };  // a lower class, somebody else, nobody
inline constexpr SwitchKind all_switch_kinds[] = {SwitchKind::preemption, SwitchKind::handover, SwitchKind::vacant};
const char* name_of(SwitchKind);
SwitchKind kind_of(const Switch&);

inline constexpr std::array<const char*, 6> switch_parts = {"close",   "drain", "evict",
                                                            "restore", "open",  "first_kernel"};

// Nothing for a phase that there was no need for, and for all of them until the first kernel has run.
std::array<std::optional<policy::Time>, switch_parts.size()> parts_of(const Switch&);

class PhaseBook {
 public:
  struct Page {
    Histogram whole;
    std::array<Histogram, switch_parts.size()> parts;
  };
  void add(const Switch&);
  const Page& page(SwitchKind kind) const { return pages_[static_cast<std::size_t>(kind)]; }

 private:
  std::array<Page, std::size(all_switch_kinds)> pages_;
};

}  // namespace lull

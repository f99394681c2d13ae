#include "broker/cards.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "broker/units.h"

namespace lull {
namespace {

const CardConfig* entry_for(const Config& config, const Uuid& uuid) {
  const auto at = std::find_if(config.cards.begin(), config.cards.end(), [&](const auto& c) { return c.uuid == uuid; });
  return at == config.cards.end() ? nullptr : &*at;
}

std::string promise_problem(const Card& card) {
  const auto& s = card.sizes;
  const auto taken = s.slots * s.residue + s.headroom;
  if (taken + card.chunk() < card.memory) return {};
  return fmt::format(
      "{} has {}: {} slots of {} and {} headroom leave nothing for programs; lower gpu.slots, gpu.residue or "
      "gpu.headroom",
      show_uuid(card.uuid), show_bytes(card.memory), s.slots, show_bytes(s.residue), show_bytes(s.headroom));
}

// Nothing: the machine has one node, or does not say.
std::optional<unsigned> node_of(const std::optional<std::string>& pci_address) {
  if (!pci_address) return std::nullopt;
  std::ifstream file("/sys/bus/pci/devices/" + *pci_address + "/numa_node");
  int node = -1;
  if (!(file >> node) || node < 0) return std::nullopt;
  return static_cast<unsigned>(node);
}

std::vector<Card> from_nvml(const Config& config, const Nvml& nvml) {
  std::vector<Card> cards;
  for (std::size_t i = 0; i < nvml.count(); ++i) {
    const auto uuid = nvml.uuid(i);
    const auto memory = nvml.memory(i);
    if (!uuid || !memory) continue;
    const auto* entry = entry_for(config, *uuid);
    cards.push_back({*uuid, entry && entry->memory ? *entry->memory : memory->total,
                     entry ? entry->sizes : config.sizes, i, node_of(nvml.pci_address(i))});
  }
  return cards;
}

}  // namespace

std::variant<std::vector<Card>, CardsProblem> find_cards(const Config& config, const Nvml* nvml,
                                                         const std::string& why_no_nvml) {
  auto cards = nvml ? from_nvml(config, *nvml) : std::vector<Card>{};
  if (!nvml) {
    for (const auto& entry : config.cards)
      if (entry.memory) cards.push_back({entry.uuid, *entry.memory, entry.sizes, {}, {}});
  }
  if (cards.empty()) {
    const auto why = nvml ? std::string("NVML knows no GPU") : why_no_nvml;
    return CardsProblem{why +
                        "; install the NVIDIA driver, or describe the card in the configuration: "
                        "[[gpu]] with uuid = \"GPU-…\" and memory = \"24GiB\""};
  }
  for (const auto& card : cards)
    if (const auto problem = promise_problem(card); !problem.empty()) return CardsProblem{problem};
  return cards;
}

}  // namespace lull

// broker/cards.h: the GPUs this broker shares out, from NVML and the configuration. Sizes are fixed for its life.
#pragma once
#include <string>
#include <variant>
#include <vector>

#include "broker/arbiter.h"
#include "broker/config.h"
#include "broker/nvml.h"

namespace lull {

struct CardsProblem {
  std::string text;
};
// In NVML's order; without NVML (null; `why_no_nvml` says why) those of the configuration that state their memory.
std::variant<std::vector<Card>, CardsProblem> find_cards(const Config&, const Nvml*, const std::string& why_no_nvml);

}  // namespace lull

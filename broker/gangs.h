// broker/gangs.h: what those of a gang on several cards have to know of one another.
#pragma once
#include <cstdint>
#include <span>

#include "broker/policy.h"

namespace lull {

// A client of a gang on one card.
struct GangPart {
  std::uint32_t gang = 0;
  std::size_t card = 0;
  policy::ClientId client = 0;
  policy::GangWord said;
  policy::GangNews news;  // filled in: what the others on other cards have said
};
void coordinate(std::span<GangPart>);

}  // namespace lull

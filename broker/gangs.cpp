#include "broker/gangs.h"

#include <algorithm>

namespace lull {

void coordinate(std::span<GangPart> parts) {
  using policy::Readiness;
  for (GangPart& part : parts) {
    part.news = {};
    for (const GangPart& other : parts) {
      if (other.gang != part.gang || other.card == part.card) continue;
      part.news.wants = std::max(part.news.wants, other.said.wants);
      part.news.waits = part.news.waits || other.said.readiness != Readiness::ready;
      part.news.behind = part.news.behind || (other.card < part.card && other.said.readiness == Readiness::none);
    }
  }
}

}  // namespace lull

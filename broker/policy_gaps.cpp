// broker/policy_gaps.cpp: how long to keep the card for a service after a request.
//
// Keeping it for a time t costs that time, all of it if the next request comes later; giving it back costs the way
// there and back, and the next request's wait for the way there; less, if that request comes while the other is still
// on its way back. Which t is cheapest on average follows from the gaps seen lately. With too few of them it is as long
// as the switches take: then no choice costs more than twice the best one ("ski rental").
#include <algorithm>

#include "broker/policy.h"

namespace lull::policy {
namespace {

constexpr float fades = 0.95f;  // the weight of a gap when the next one has come
constexpr float enough = 3.0f;  // sum of weights from which on they are believed
constexpr double waits = 0.5;   // what a second costs more in which a request waits

constexpr Time edge(std::size_t bucket) { return second << bucket; }  // a bucket's longest gap

}  // namespace

void note_gap(Gaps& gaps, Time gap) {
  std::size_t bucket = 0;
  while (bucket + 1 < gaps.weight.size() && gap > edge(bucket)) ++bucket;
  for (float& weight : gaps.weight) weight *= fades;
  gaps.weight[bucket] += 1;
}

Time best_linger(const Gaps& gaps, Time round_trip, const Lingers& bounds) {
  const Time most = std::max(bounds.least, bounds.most);
  float sum = 0;
  for (const float weight : gaps.weight) sum += weight;
  const Time usual = std::clamp(round_trip, bounds.least, most);
  if (sum < enough || round_trip == 0) return usual;
  const auto cost_of = [&](Time linger) {
    double cost = 0;
    for (std::size_t bucket = 0; bucket < gaps.weight.size(); ++bucket) {
      const bool last = bucket + 1 == gaps.weight.size();
      const double mean = 0.75 * static_cast<double>(edge(bucket)), kept = static_cast<double>(linger);
      const bool within = !last && edge(bucket) <= linger;
      // Who comes while the other is still on its way back waits for what has gone already.
      const double there = static_cast<double>(round_trip) / 2;
      const double gone = last ? there : std::min(std::max(mean - kept, 0.0), there);
      const double gap = within ? mean : kept + (2 + 2 * waits) * gone;
      cost += gaps.weight[bucket] * gap;
    }
    return cost;
  };
  Time best = bounds.shortest;
  for (std::size_t bucket = 0; bucket + 1 < gaps.weight.size(); ++bucket) {
    const Time linger = std::clamp(edge(bucket), bounds.shortest, most);
    if (cost_of(linger) < cost_of(best)) best = linger;
  }
  return best;
}

}  // namespace lull::policy

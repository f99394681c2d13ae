// broker/broker_chart.cpp: what `lull trace` draws, as one JSON object ("schema": 1; keys are only ever added).
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"

namespace lull {

using nlohmann::json;

json Broker::chart() const {
  json gpus = json::array();
  for (std::size_t i = 0; i < arbiters_.size(); ++i) {
    const auto& chart = arbiters_[i]->chart();
    json clients = json::array(), points = json::array();
    for (const auto& who : chart.who()) clients.push_back(json_of(who));
    for (const auto& p : chart.points())
      points.push_back(json::array({p.at, p.client, static_cast<unsigned>(p.doing), p.resident}));
    gpus.push_back({{"gpu", i},
                    {"uuid", show_uuid(arbiters_[i]->card().uuid)},
                    {"memory", arbiters_[i]->card().memory},
                    {"clients", clients},
                    {"points", points}});
  }
  return {{"schema", 1}, {"now_ns", now_ns()}, {"doings", doing_names}, {"gpus", gpus}};
}

}  // namespace lull

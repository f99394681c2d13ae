// broker/cli/metrics_text.h: what the broker says of itself, in the text format of Prometheus.
//
// Names by its conventions: seconds and bytes, `_total` for what only grows, one family a quantity. Counters belong to
// the broker, a card, a class, or one process, never to a tenant: a sum over a tenant's processes shrinks when one of
// them ends, which a counter must not.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace lull::cli {

std::string metrics_text(const nlohmann::json& status);  // the answer to {"cmd":"status"}
std::string metrics_without_broker();                    // lull_up 0, and nothing else that would pass for news

}  // namespace lull::cli

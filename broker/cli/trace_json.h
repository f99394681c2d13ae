// broker/cli/trace_json.h: a story in the JSON that Chrome's tracing and Perfetto (ui.perfetto.dev) open: a process for
// each card, in it a track of switches with their phases, one for each client, counters of resident memory, and an
// arrow from each request's first packet to its first kernel.
#pragma once
#include <nlohmann/json.hpp>

#include "broker/cli/story.h"

namespace lull::cli {

nlohmann::json trace_of(const Story&);

}  // namespace lull::cli

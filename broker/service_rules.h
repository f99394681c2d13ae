// broker/service_rules.h: what the configuration says of a service's requests ([[service]]), from text to what the
// kernel programs compare.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/loader.h"

namespace lull {

// "GET /stats*": that method, every target that begins so. "/ping": any method, exactly this target, with or without a
// query. "!POST /health/ask": counts, though a shorter rule ignores it.
std::optional<Filter::Path> parse_path_rule(std::string_view);
// "10.0.0.7", "10.0.0.0/8", "fd00::/8"
std::optional<Filter::Source> parse_source(std::string_view);
// "8000"; "redis:6379" says for people who is there
std::optional<std::uint16_t> parse_port(std::string_view);
std::optional<std::uint16_t> parse_work_port(std::string_view);

// GET and HEAD of what health checks and monitoring ask for by convention.
const std::vector<std::string>& usual_probes();

// Of rules that parse; others are left out.
Filter make_filter(std::uint32_t least_bytes, const std::vector<std::string>& paths,
                   const std::vector<std::string>& sources);

}  // namespace lull

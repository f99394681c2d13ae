// What lull metrics makes of an answer; that of a real broker is read by tests/system/metrics_test.py.
#include "broker/cli/metrics_text.h"

#include <doctest/doctest.h>

#include "tests/cli/text.h"

using namespace lull::cli;
using namespace lull::cli::test;
using nlohmann::json;

namespace {

// As it comes over the socket: a literal's numbers are signed.
std::string text_of(const json& status) { return metrics_text(json::parse(status.dump())); }

json client(unsigned id, const std::string& tenant, std::uint64_t resident) {
  return {{"client", id},         {"tenant", tenant},       {"class", "training"}, {"gate", "closed"},
          {"resident", resident}, {"needed", 2 * resident}, {"native", 5},         {"wants_ns", 7}};
}

}  // namespace

TEST_CASE("a tenant's name may hold anything and stays one label") {
  const json status = {{"gpus", {{{"gpu", 0}, {"clients", {client(1, "a\"b\\c\nd", 10)}}}}}};
  CHECK(has(text_of(status), R"(lull_tenant_resident_bytes{gpu="0",tenant="a\"b\\c\nd",class="training"} 10)"));
}

TEST_CASE("processes of one tenant are one sample") {
  const json status = {
      {"gpus", {{{"gpu", 0}, {"lease", {{"client", 2}}}, {"clients", {client(1, "t", 10), client(2, "t", 30)}}}}}};
  const auto text = text_of(status);
  CHECK(has(text, R"(lull_tenant_clients{gpu="0",tenant="t",class="training"} 2)"));
  CHECK(has(text, R"(lull_tenant_lease{gpu="0",tenant="t",class="training"} 1)"));
  CHECK(has(text, R"(lull_tenant_resident_bytes{gpu="0",tenant="t",class="training"} 40)"));
  CHECK(has(text, R"(lull_tenant_needed_bytes{gpu="0",tenant="t",class="training"} 80)"));
}

TEST_CASE("buckets count what is at most their bound") {
  const json h = {{"counts", {2, 0, 3}}, {"sum_ns", 1'500'000'000}};
  const json times = {{"bounds_ns", {100'000, 2'500'000}},
                      {"kinds", {{"vacant", {{"whole", h}, {"parts", {{"open", h}}}}}}}};
  const auto text = text_of({{"gpus", {{{"gpu", 1}, {"switch_times", times}}}}});
  CHECK(has(text, R"(lull_switch_seconds_bucket{gpu="1",kind="vacant",le="0.0001"} 2)"));
  CHECK(has(text, R"(lull_switch_seconds_bucket{gpu="1",kind="vacant",le="0.0025"} 2)"));
  CHECK(has(text, R"(lull_switch_seconds_bucket{gpu="1",kind="vacant",le="+Inf"} 5)"));
  CHECK(has(text, R"(lull_switch_seconds_count{gpu="1",kind="vacant"} 5)"));
  CHECK(has(text, R"(lull_switch_seconds_sum{gpu="1",kind="vacant"} 1.5)"));
  CHECK(has(text, R"(lull_switch_phase_seconds_bucket{gpu="1",kind="vacant",phase="open",le="+Inf"} 5)"));
}

TEST_CASE("a broker of another version is read as far as it is understood") {
  for (const auto& strange :
       {json::object(), json{{"gpus", "none"}}, json{{"gpus", {1, "x", nullptr}}},
        json{{"gpus", {{{"switch_times", {{"bounds_ns", {"a"}}, {"kinds", {{"k", {{"whole", 3}}}}}}}}}}}}) {
    CHECK(has(text_of(strange), "lull_up 1\n"));
  }
  CHECK(metrics_without_broker().find("lull_up 0\n") != std::string::npos);
}

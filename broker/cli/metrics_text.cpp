#include "broker/cli/metrics_text.h"

#include <fmt/format.h>

#include <initializer_list>
#include <map>
#include <tuple>
#include <utility>

#include "broker/cli/show.h"

namespace lull::cli {
namespace {

using Labels = std::initializer_list<std::pair<const char*, std::string>>;

// Names of tenants are other people's bytes.
std::string quoted(const std::string& value) {
  std::string out = "\"";
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string shown(const Labels& labels, const std::string& le = "") {
  std::string out;
  for (const auto& [name, value] : labels) out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, quoted(value));
  if (!le.empty()) out += fmt::format("{}le=\"{}\"", out.empty() ? "" : ",", le);
  return out.empty() ? "" : "{" + out + "}";
}

std::string seconds(std::uint64_t ns) { return fmt::format("{}", static_cast<double>(ns) / 1e9); }

// One quantity with all its samples, which the format wants in one piece.
class Family {
 public:
  Family(std::string& out, const char* name, const char* type, const char* help) : out_(out), name_(name) {
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void value(const Labels& labels, std::uint64_t n) { line("", shown(labels), std::to_string(n)); }
  void time(const Labels& labels, std::uint64_t ns) { line("", shown(labels), seconds(ns)); }

  void histogram(const Labels& labels, const json& bounds, const json& h) {
    const auto& counts = part(h, "counts");
    if (!counts.is_array() || !bounds.is_array() || counts.size() != bounds.size() + 1) return;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      below += counts[i].is_number_unsigned() ? counts[i].get<std::uint64_t>() : 0;
      const bool last = i == bounds.size();
      if (!last && !bounds[i].is_number_unsigned()) return;
      line("_bucket", shown(labels, last ? "+Inf" : seconds(bounds[i].get<std::uint64_t>())), std::to_string(below));
    }
    line("_sum", shown(labels), seconds(number(h, "sum_ns")));
    line("_count", shown(labels), std::to_string(below));
  }

 private:
  void line(const char* suffix, const std::string& labels, const std::string& value) {
    out_ += fmt::format("{}{}{} {}\n", name_, suffix, labels, value);
  }
  std::string& out_;
  const char* name_;
};

std::string name_of(const json& gpu) { return std::to_string(number(gpu, "gpu")); }

struct Row {
  const char* name;
  const char* help;
  const char* key;
};

// ---- the broker and its host

void of_broker(std::string& out, const json& s) {
  Family(out, "lull_up", "gauge", "1 if lulld answered.").value({}, 1);
  Family(out, "lull_info", "gauge", "Version of lulld; always 1.").value({{"version", text(s, "version")}}, 1);
  Family(out, "lull_uptime_seconds", "gauge", "Time since lulld was started.").time({}, number(s, "uptime_ns"));
  Family(out, "lull_early_wake", "gauge", "1 if requests are seen in the kernel, before their service sees them.")
      .value({}, s.value("early_wake", false) ? 1 : 0);
  Family(out, "lull_dropped_clients_total", "counter", "Programs sent away because what they sent made no sense.")
      .value({}, number(s, "dropped"));
  Family events(out, "lull_events_total", "counter", "What happened, by kind, as lull events tells it.");
  for (const auto& [kind, count] : part(s, "event_counts").items())
    if (count.is_number_unsigned()) events.value({{"event", kind}}, count.get<std::uint64_t>());
}

void of_host(std::string& out, const json& host) {
  constexpr Row gauges[] = {
      {"lull_host_memory_budget_bytes", "How much host memory evicted data may take.", "budget"},
      {"lull_host_memory_held_bytes", "Host memory that is held for evicted data.", "held"},
      {"lull_host_memory_available_bytes", "Host memory that is available to everybody, as the kernel says.",
       "available"},
      {"lull_host_memory_reserve_bytes", "Host memory that is left to everybody else.", "keep_free"}};
  for (const auto& row : gauges) Family(out, row.name, "gauge", row.help).value({}, number(host, row.key));
  const auto& spill = part(host, "spill");
  constexpr Row spilled[] = {{"lull_spill_capacity_bytes", "How much evicted data may go to disk.", "capacity"},
                             {"lull_spill_stored_bytes", "Evicted data on disk.", "stored"},
                             {"lull_spill_away_bytes", "Evicted data that is on disk alone.", "away"}};
  for (const auto& row : spilled) {
    Family family(out, row.name, "gauge", row.help);
    if (!spill.empty()) family.value({}, number(spill, row.key));
  }
  Family failures(out, "lull_spill_failures_total", "counter", "Reads and writes of evicted data that have failed.");
  if (!spill.empty()) failures.value({}, number(spill, "failures"));
}

// ---- cards

void of_cards(std::string& out, const json& gpus) {
  Family info(out, "lull_gpu_info", "gauge", "The cards that lulld arbitrates; always 1.");
  for (const auto& gpu : gpus) info.value({{"gpu", name_of(gpu)}, {"uuid", text(gpu, "uuid")}}, 1);
  constexpr Row gauges[] = {
      {"lull_gpu_memory_bytes", "Memory of the card.", "memory"},
      {"lull_gpu_memory_free_bytes", "Memory of the card that nobody holds or has been promised.", "free"},
      {"lull_gpu_memory_foreign_bytes", "Memory of the card held by programs that are not under Lull.", "foreign"}};
  for (const auto& row : gauges) {
    Family family(out, row.name, "gauge", row.help);
    for (const auto& gpu : gpus) family.value({{"gpu", name_of(gpu)}}, number(gpu, row.key));
  }
  constexpr Row counters[] = {
      {"lull_switches_total", "How often somebody has been given the card.", "switches"},
      {"lull_preemptions_total", "How often the card was taken from a lower class.", "preemptions"},
      {"lull_evicted_bytes_total", "Memory that has left the card; what was unchanged left without a copy.",
       "evicted_bytes"},
      {"lull_restored_bytes_total", "Memory that has come back to the card.", "restored_bytes"}};
  for (const auto& row : counters) {
    Family family(out, row.name, "counter", row.help);
    for (const auto& gpu : gpus) family.value({{"gpu", name_of(gpu)}}, number(gpu, row.key));
  }
}

void of_times(std::string& out, const json& gpus) {
  constexpr Row by_class[] = {
      {"lull_held_seconds_total", "How long a class has had the lease; one has it at a time.", "held_ns"},
      {"lull_paused_seconds_total", "How long gates of a class have been closed, summed over its programs.",
       "paused_ns"}};
  for (const auto& row : by_class) {
    Family family(out, row.name, "counter", row.help);
    for (const auto& gpu : gpus)
      for (const auto& [klass, ns] : part(gpu, row.key).items())
        if (ns.is_number_unsigned()) family.time({{"gpu", name_of(gpu)}, {"class", klass}}, ns.get<std::uint64_t>());
  }
  {
    Family ran(out, "lull_ran_seconds_total", "counter",
               "How long a program of a class could run, beside others or alone: gate open, memory on the card.");
    for (const auto& gpu : gpus)
      for (const auto& [klass, ns] : part(part(gpu, "time"), "ran_ns").items())
        if (ns.is_number_unsigned()) ran.time({{"gpu", name_of(gpu)}, {"class", klass}}, ns.get<std::uint64_t>());
  }
  {
    Family recovered(
        out, "lull_recovered_seconds_total", "counter",
        "How long training could run while a service was connected that would otherwise have had the card.");
    for (const auto& gpu : gpus) recovered.time({{"gpu", name_of(gpu)}}, number(part(gpu, "time"), "recovered_ns"));
  }
  constexpr Row moves[] = {
      {"lull_move_predicted_seconds_total", "How long switches were expected to move memory.", "predicted_ns"},
      {"lull_move_seconds_total", "How long the same switches did move memory.", "moved_ns"}};
  for (const auto& row : moves) {
    Family family(out, row.name, "counter", row.help);
    for (const auto& gpu : gpus) family.time({{"gpu", name_of(gpu)}}, number(part(gpu, "prediction"), row.key));
  }
}

void of_switches(std::string& out, const json& gpus) {
  const auto each = [&](const auto& f) {
    for (const auto& gpu : gpus) {
      const auto& times = part(gpu, "switch_times");
      for (const auto& [kind, page] : part(times, "kinds").items())
        f(name_of(gpu), kind, part(times, "bounds_ns"), page);
    }
  };
  {
    Family whole(out, "lull_switch_seconds", "histogram",
                 "From the first sign of a request to its first kernel; kind: who had to go.");
    each([&](const std::string& gpu, const std::string& kind, const json& bounds, const json& page) {
      whole.histogram({{"gpu", gpu}, {"kind", kind}}, bounds, part(page, "whole"));
    });
  }
  Family parts(out, "lull_switch_phase_seconds", "histogram",
               "What each phase of a switch took beyond those before it; they sum up to lull_switch_seconds.");
  each([&](const std::string& gpu, const std::string& kind, const json& bounds, const json& page) {
    for (const auto& [phase, h] : part(page, "parts").items())
      parts.histogram({{"gpu", gpu}, {"kind", kind}, {"phase", phase}}, bounds, h);
  });
}

// ---- tenants

struct Tenant {
  std::uint64_t resident = 0, needed = 0, native = 0, wanting = 0, paused = 0, clients = 0, leases = 0;
};
using Key = std::tuple<std::string, std::string, std::string>;  // gpu, tenant, class

std::map<Key, Tenant> tenants_of(const json& gpus) {
  std::map<Key, Tenant> all;
  for (const auto& gpu : gpus) {
    const auto lease = number(part(gpu, "lease"), "client");
    for (const auto& c : part(gpu, "clients")) {
      auto& t = all[{name_of(gpu), text(c, "tenant"), text(c, "class")}];
      ++t.clients;
      t.resident += number(c, "resident");
      t.needed += number(c, "needed");
      t.native += number(c, "native");
      t.paused += text(c, "gate") == "closed" ? 1 : 0;
      t.wanting += number(c, "wants_ns") != 0 ? 1 : 0;
      t.leases += lease != 0 && number(c, "client") == lease ? 1 : 0;
    }
  }
  return all;
}

void of_tenants(std::string& out, const json& gpus) {
  struct TenantRow {
    const char *name, *help;
    std::uint64_t Tenant::*member;
  };
  constexpr TenantRow rows[] = {
      {"lull_tenant_clients", "Processes of a tenant on a card.", &Tenant::clients},
      {"lull_tenant_lease", "1 for the tenant that has been given the card.", &Tenant::leases},
      {"lull_tenant_paused", "Processes of a tenant whose gate is closed.", &Tenant::paused},
      {"lull_tenant_waiting", "Processes of a tenant that wait at a closed gate with work.", &Tenant::wanting},
      {"lull_tenant_resident_bytes", "Memory of a tenant that is on the card.", &Tenant::resident},
      {"lull_tenant_needed_bytes", "Memory that a tenant has allocated, on the card or evicted.", &Tenant::needed},
      {"lull_tenant_native_bytes", "Memory of a tenant that cannot be moved: contexts, modules, graphs.",
       &Tenant::native}};
  const auto all = tenants_of(gpus);
  for (const auto& row : rows) {
    Family family(out, row.name, "gauge", row.help);
    for (const auto& [key, tenant] : all)
      family.value({{"gpu", std::get<0>(key)}, {"tenant", std::get<1>(key)}, {"class", std::get<2>(key)}},
                   tenant.*row.member);
  }
}

void of_requests(std::string& out, const json& services) {
  const auto labels = [](const json& s) { return std::pair{text(s, "tenant"), std::to_string(number(s, "pid"))}; };
  constexpr Row counters[] = {
      {"lull_requests_total", "Requests seen in the kernel on their way to a service.", "arrivals"},
      {"lull_requests_answered_total", "Requests whose answer was seen to leave.", "completions"},
      {"lull_requests_ignored_total", "Requests that ask for no GPU, such as health checks.", "ignored"}};
  for (const auto& row : counters) {
    Family family(out, row.name, "counter", row.help);
    for (const auto& s : services) {
      const auto [tenant, pid] = labels(s);
      family.value({{"tenant", tenant}, {"pid", pid}}, number(s, row.key));
    }
  }
  Family waiting(out, "lull_requests_waiting", "gauge", "Requests that are not answered yet.");
  for (const auto& s : services) {
    const auto [tenant, pid] = labels(s);
    waiting.value({{"tenant", tenant}, {"pid", pid}}, number(s, "waiting"));
  }
}

}  // namespace

std::string metrics_without_broker() {
  std::string out;
  Family(out, "lull_up", "gauge", "1 if lulld answered.").value({}, 0);
  return out;
}

std::string metrics_text(const json& status) {
  std::string out;
  const auto& gpus = part(status, "gpus");
  of_broker(out, status);
  of_host(out, part(status, "host"));
  of_cards(out, gpus);
  of_times(out, gpus);
  of_switches(out, gpus);
  of_tenants(out, gpus);
  of_requests(out, part(part(status, "requests"), "services"));
  return out;
}

}  // namespace lull::cli

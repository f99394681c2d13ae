#include "broker/cli/top_view.h"

#include <algorithm>
#include <tuple>

namespace lull::cli {
namespace {

std::string printable(std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

bool is_true(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_boolean() && at->get<bool>();
}

std::optional<std::uint64_t> maybe(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number_unsigned()) return std::nullopt;
  return at->get<std::uint64_t>();
}

int rank_of(const std::string& klass) { return klass == "inference" ? 0 : klass == "interactive" ? 1 : 2; }

void add(TopTenant& t, const json& c, const json& lease) {
  t.pids.push_back(number(c, "pid"));
  t.on_card += number(c, "resident") + number(c, "native");
  t.evicted += number(c, "evicted");
  t.requests += number(c, "waiting");
  t.waits = t.waits || is_true(c, "wants");
  t.holds = t.holds || (!lease.empty() && number(lease, "client") == number(c, "client"));
  t.paused_ns += number(c, "paused_ns");
  t.connected_ns += number(c, "connected_ns");
  // Of several processes the state of the one that is worst off tells more than that of another.
  if (t.state.empty() || t.state == "running") {
    t.state = printable(text(c, "state"));
    t.why = printable(why_of(c));
  }
}

std::vector<TopTenant> tenants_of(const json& gpu, const Naming& naming) {
  std::vector<TopTenant> all;
  const auto& lease = part(gpu, "lease");
  for (const auto& c : part(gpu, "clients")) {
    const auto name = printable(naming(text(c, "tenant"))), klass = printable(text(c, "class"));
    const auto uid = number(c, "uid");
    auto at = std::find_if(all.begin(), all.end(),
                           [&](const TopTenant& t) { return t.uid == uid && t.klass == klass && t.name == name; });
    if (at == all.end()) {
      all.push_back({.name = name, .klass = klass, .uid = uid});
      at = all.end() - 1;
    }
    add(*at, c, lease);
  }
  const auto key = [](const TopTenant& t) {
    return std::tuple(!t.holds, !t.waits, rank_of(t.klass), ~t.on_card, ~t.evicted);
  };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  return all;
}

std::vector<TopStranger> strangers_of(const json& gpu) {
  std::vector<TopStranger> all;
  for (const auto& s : part(gpu, "strangers"))
    all.push_back({number(s, "pid"), printable(text(s, "command")), maybe(s, "used")});
  return all;
}

TopGpu gpu_of(const json& gpu, const Naming& naming) {
  TopGpu out{.number = number(gpu, "gpu"), .uuid = printable(text(gpu, "uuid"))};
  out.memory = number(gpu, "memory");
  out.free = number(gpu, "free");
  out.foreign = number(gpu, "foreign");
  out.preemptions = number(gpu, "preemptions");
  out.switches = number(gpu, "switches");
  out.recovered_ns = number(part(gpu, "time"), "recovered_ns");
  out.thrashing = is_true(gpu, "thrashing");
  out.tenants = tenants_of(gpu, naming);
  out.strangers = strangers_of(gpu);
  for (const auto& t : out.tenants) out.requests += t.requests;
  if (const auto& lease = part(gpu, "lease"); !lease.empty())
    out.lease = TopLease{printable(naming(text(lease, "tenant"))), printable(text(lease, "sentence")),
                         number(lease, "since_ns"), maybe(lease, "left_ns")};
  return out;
}

// Programs that opened a card without the library; those that the card's management names are shown there, with bytes.
std::vector<TopStranger> holders_of(const json& status, const std::vector<TopGpu>& gpus) {
  std::vector<TopStranger> all;
  for (const auto& h : part(status, "gpu_holders")) {
    if (is_true(h, "client")) continue;
    const auto pid = number(h, "pid");
    const bool known = std::any_of(gpus.begin(), gpus.end(), [&](const TopGpu& gpu) {
      return std::any_of(gpu.strangers.begin(), gpu.strangers.end(), [&](const auto& s) { return s.pid == pid; });
    });
    if (!known) all.push_back({pid, printable(text(h, "comm")), std::nullopt});
  }
  return all;
}

struct Phase {
  const char *key, *name;
};
constexpr Phase shown_phases[] = {{"closed", "close"},     {"drained", "drain"}, {"evicted", "evict"},
                                  {"restored", "restore"}, {"opened", "open"},   {"first_kernel", "kernel"}};

std::vector<TopPhase> phases_of(const json& all, std::uint64_t seen) {
  std::vector<std::pair<std::uint64_t, const char*>> reached;
  for (const auto& phase : shown_phases)
    if (const auto at = number(all, phase.key); at >= seen && at != 0) reached.emplace_back(at, phase.name);
  std::stable_sort(reached.begin(), reached.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<TopPhase> out;
  for (auto before = seen; const auto& [at, name] : reached) {
    out.push_back({name, at - before});
    before = at;
  }
  return out;
}

TopSwitch switch_of(const json& s, std::uint64_t now, const Naming& naming) {
  const auto& all = part(s, "phases");
  const auto seen = number(all, "seen");
  TopSwitch out{.id = number(s, "id"), .ago_ns = now - std::min(now, seen)};
  out.out = number(s, "evicted_bytes");
  out.in = number(s, "restored_bytes");
  out.to = printable(naming(text(part(s, "to"), "tenant")));
  out.reason = printable(text(s, "reason"));
  for (const auto& who : part(s, "from"))
    out.from += (out.from.empty() ? "" : ",") + printable(naming(text(who, "tenant")));
  out.phases = phases_of(all, seen);
  for (const auto& phase : out.phases) out.total_ns += phase.took_ns;
  return out;
}

json json_of(const std::vector<TopStranger>& all) {
  json out = json::array();
  for (const auto& s : all)
    out.push_back({{"pid", s.pid}, {"command", s.name}, {"used", s.bytes ? json(*s.bytes) : json(nullptr)}});
  return out;
}

json json_of(const TopTenant& t) {
  return {{"tenant", t.name},
          {"class", t.klass},
          {"uid", t.uid},
          {"pids", t.pids},
          {"state", t.state},
          {"sentence", t.why},
          {"on_card", t.on_card},
          {"evicted", t.evicted},
          {"waiting", t.requests},
          {"wants", t.waits},
          {"lease", t.holds},
          {"paused_ns", t.paused_ns},
          {"connected_ns", t.connected_ns}};
}

json json_of(const TopGpu& gpu) {
  json tenants = json::array(), lease;
  for (const auto& t : gpu.tenants) tenants.push_back(json_of(t));
  if (gpu.lease)
    lease = {{"tenant", gpu.lease->name},
             {"since_ns", gpu.lease->since_ns},
             {"left_ns", gpu.lease->left_ns ? json(*gpu.lease->left_ns) : json(nullptr)},
             {"sentence", gpu.lease->why}};
  return {{"gpu", gpu.number},
          {"uuid", gpu.uuid},
          {"memory", gpu.memory},
          {"free", gpu.free},
          {"foreign", gpu.foreign},
          {"lease", lease},
          {"waiting", gpu.requests},
          {"switches", gpu.switches},
          {"preemptions", gpu.preemptions},
          {"recovered_ns", gpu.recovered_ns},
          {"thrashing", gpu.thrashing},
          {"tenants", tenants},
          {"strangers", json_of(gpu.strangers)}};
}

json json_of(const TopSwitch& s) {
  json steps = json::array();
  for (const auto& phase : s.phases) steps.push_back({{"phase", phase.name}, {"took_ns", phase.took_ns}});
  return {{"id", s.id},
          {"gpu", s.gpu ? json(*s.gpu) : json(nullptr)},
          {"ago_ns", s.ago_ns},
          {"from", s.from},
          {"to", s.to},
          {"reason", s.reason},
          {"total_ns", s.total_ns},
          {"phases", steps},
          {"evicted_bytes", s.out},
          {"restored_bytes", s.in}};
}

}  // namespace

TopView view_of(const json& status, const std::deque<json>& events, const Naming& naming) {
  TopView view{.version = printable(text(status, "version")), .uptime_ns = number(status, "uptime_ns")};
  const auto& host = part(status, "host");
  view.host_held = number(host, "held");
  view.host_budget = number(host, "budget");
  view.pressure = printable(text(host, "pressure"));
  for (const auto& note : part(status, "notes"))
    if (note.is_string()) view.notes.push_back(printable(note.get<std::string>()));
  for (const auto& gpu : part(status, "gpus")) view.gpus.push_back(gpu_of(gpu, naming));
  view.holders = holders_of(status, view.gpus);
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    auto& s = view.switches.emplace_back(switch_of(*event, number(status, "now_ns"), naming));
    for (const auto& gpu : view.gpus)
      if (gpu.uuid == text(*event, "gpu")) s.gpu = gpu.number;
  }
  // They are told when they end: with two cards not in the order in which they began.
  std::stable_sort(view.switches.begin(), view.switches.end(),
                   [](const auto& a, const auto& b) { return a.ago_ns < b.ago_ns; });
  return view;
}

json json_of(const TopView& view) {
  json gpus = json::array(), switches = json::array();
  for (const auto& gpu : view.gpus) gpus.push_back(json_of(gpu));
  for (const auto& s : view.switches) switches.push_back(json_of(s));
  return {{"schema", 1},
          {"version", view.version},
          {"uptime_ns", view.uptime_ns},
          {"host", {{"held", view.host_held}, {"budget", view.host_budget}, {"pressure", view.pressure}}},
          {"notes", view.notes},
          {"gpus", gpus},
          {"holders", json_of(view.holders)},
          {"switches", switches}};
}

}  // namespace lull::cli

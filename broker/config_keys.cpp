#include "broker/config_keys.h"

#include <fmt/format.h>

#include <charconv>

#include "broker/service_rules.h"
#include "broker/units.h"

namespace lull {
namespace {

using policy::ms;
using policy::never;
using policy::second;

constexpr std::size_t most_listed = 64;
constexpr std::uint64_t day = 86400 * second;

std::optional<std::string> check_argument(std::string_view text) {
  if (text.empty() || text.size() > 4096) return "is empty or very long";
  return std::nullopt;
}

#define FIELD(kind, member) [](Config& c) -> Field { return kind{&c.member}; }
constexpr Key<Config> top_keys[] = {
    {"host_memory", FIELD(OptionalBytesField, host_memory), 0, 64 * tib,
     "memory of the machine - max(8GiB, 20 %), at least a quarter of it",
     "Host memory that evicted GPU memory may take, of all users together."},
    {"host_memory_keep_free", FIELD(OptionalBytesField, host_memory_keep_free), 0, 64 * tib,
     "max(4GiB, 10 %), at most a quarter of the machine's memory",
     "No more host memory is taken while less than this is available; what is not necessary is given back."},
    {"backing_linger", FIELD(TimeField, backing_linger), 0, day, nullptr,
     "Host memory beyond what a program's GPU memory needs goes back after this long without need; under memory "
     "pressure at once."},
    {"spill_path", FIELD(PathField, spill_path), 0, 0, "none",
     "Directory on a local disk to which evicted data goes that host memory has no room for. It must belong to the "
     "user "
     "lulld runs as, and be writable for nobody else. Takes effect at the next start."},
    {"spill_bytes", FIELD(BytesField, spill_bytes), 0, 64 * tib, nullptr, "How much may lie there."},
    {"spill_daily_write_bytes", FIELD(BytesField, spill_daily_write_bytes), 0, 1024 * tib, nullptr,
     "How much of what changes from one eviction to the next (training) may be written there on one day (UTC), because "
     "disks wear; what stays the same (a service's weights) is written once and does not count. Needs `lulld "
     "--state-dir`, where it is remembered."},
    {"huge_pages",
     [](Config& c) -> Field {
       return EitherField{&c.reserved_pages, "transparent", "reserved"};
     },
     0, 0, nullptr,
     "`\"reserved\"`: host memory is taken from the huge pages that are set aside (`vm.nr_hugepages`), as long as "
     "there "
     "are any; `\"transparent\"`: the kernel's own, where it gives them."},
    {"measure",
     [](Config& c) -> Field {
       return EitherField{&c.measure, "never", "when-idle"};
     },
     0, 0, nullptr,
     "`\"when-idle\"`: the link and the calls of each card are measured once, by a helper process that has a context "
     "and "
     "little memory on it for a second or two; `\"never\"`: not. Needs `lulld --state-dir`."},
    {"gangs",
     [](Config& c) -> Field {
       return ListField{&c.gangs, check_argument};
     },
     0, 0, "processes with `WORLD_SIZE` above 1, those of one parent together",
     "Tenants whose processes run together or not at all, on all their cards. For programs that come after it is "
     "read."},
    {"on_stuck",
     [](Config& c) -> Field {
       return ListField{&c.on_stuck, check_argument};
     },
     0, 0, "none",
     "A command that is run when a wait has no end in sight, and when it has ended: a list of the program (with its "
     "whole "
     "path) and its arguments. What waits is in its environment ([operation.md](operation.md)). No shell is involved; "
     "it "
     "has 10 s."},
    {"on_stuck_user", FIELD(TextField, on_stuck_user), 0, 0, "`\"nobody\"`", "Who runs it, where `lulld` is root."},
};
constexpr Key<Config> limit_keys[] = {
    {"clients_per_uid", FIELD(CountField, clients_per_uid), 1, 4096, nullptr,
     "Processes of one user that may be connected at the same time."},
    {"hold", FIELD(TimeField, longest_hold), second, 7 * day, nullptr,
     "The longest that `lull hold` may keep a card for a tenant at a time."},
    {"host_memory_per_uid", FIELD(OptionalBytesField, host_memory_per_uid), 0, 64 * tib,
     "seven eighths of `host_memory`",
     "Host memory that evicted GPU memory of one user may take. By default all of it while nobody else has programs, "
     "and with a `spill_path`."},
    {"reserve_per_uid", FIELD(OptionalBytesField, reserve_per_uid), 0, 64 * tib, "half of the card",
     "What may be kept of a card for contexts and modules of one user's training programs (`residue` for each). Those "
     "beyond it are not managed until others of that user have ended."},
};
constexpr Key<Config> policy_keys[] = {
    {"linger_min", FIELD(TimeField, rules.linger_min), 0, day, nullptr,
     "After a request the card stays with its service for as long as pays by the gaps between its requests (until they "
     "are "
     "known: the time of a switch there and back), but at least this long."},
    {"linger_max", FIELD(TimeField, rules.linger_max), 0, day, nullptr, "... and at most this long."},
    {"keep_alive", FIELD(OptionalTimeField, rules.keep_alive), 0, never, "by `linger_min` and `linger_max`",
     "Fixed time the card stays with a service after a request; `\"0\"`: none, `\"never\"`: never given back by "
     "itself."},
    {"unproven_close", FIELD(TimeField, rules.unproven_close), 0, second, nullptr,
     "The longest a packet that may lead to nothing pauses training."},
    {"min_hold", FIELD(TimeField, rules.min_hold), 0, day, nullptr,
     "A tenant keeps the card for at least this long, against anything but requests."},
    {"quantum", FIELD(TimeField, rules.quantum), 100 * ms, 7 * day, nullptr,
     "Turns of tenants of one class that do not fit together; at least 50 times a switch."},
    {"loading_quiet", FIELD(TimeField, rules.loading_quiet), 100 * ms, day, nullptr,
     "A starting service that neither listens nor answers counts as loaded after this long without GPU work."},
    {"loading_max", FIELD(TimeField, rules.loading_max), second, day, nullptr,
     "The longest a service counts as starting."},
    {"loading_linger", FIELD(TimeField, rules.loading_linger), 0, day, nullptr,
     "Gaps in a starting service's GPU work for which it keeps the card."},
    {"yield_idle", FIELD(TimeField, rules.yield_idle), ms, day, nullptr,
     "A service idle on the GPU for this long yields to a waiting one."},
    {"max_slice", FIELD(TimeField, rules.max_slice), 10 * ms, day, nullptr,
     "A busy service yields to a waiting one after this long."},
    {"exit_grace", FIELD(TimeField, rules.exit_grace), 0, day, nullptr,
     "Time on the card, in all, for a paused program that was sent a signal."},
    {"overdue_retry", FIELD(TimeField, rules.overdue_retry), 10 * ms, day, nullptr,
     "Pause before the next attempt after work on the card did not finish in time; doubled each time, up to a minute."},
    {"max_wait", FIELD(TimeField, rules.max_wait), second, day, nullptr,
     "After this long a wait without an end in sight is told: as an event, to `lull why`, and to `on_stuck`."},
    {"starved_after", FIELD(TimeField, rules.starved_after), second, 7 * day, nullptr,
     "Training that requests have kept off the card for so long at a stretch is told as starved."},
    {"computing_max", FIELD(TimeField, rules.computing_max), second, 7 * day, nullptr,
     "An interactive program that computes for longer without a pause of its own takes turns with training until it is "
     "idle."},
    {"max_pause", FIELD(TimeField, rules.max_pause), second, 7 * day, nullptr,
     "A gang (`gangs`) that has been paused for this long gets the card for `gang_slice`, after the present request."},
    {"gang_slice", FIELD(TimeField, rules.gang_slice), 10 * ms, day, nullptr, "... for so long."},
    {"growth_headroom", FIELD(BytesField, rules.growth_headroom), 0, tib, nullptr,
     "Room to grow that is granted beyond present needs, where the card has it to spare."},
    {"drain_limit", FIELD(MicrosecondsField, rules.drain_limit_us), 0, second, nullptr,
     "How much GPU work, in estimated time, a training program may have queued while a service or an interactive "
     "program is connected; `\"0\"`: no bound."},
    {"armed_drain_limit", FIELD(MicrosecondsField, rules.armed_drain_limit_us), 10'000, second, nullptr,
     "... while a request is on its way to somebody of a higher class."},
};
#undef FIELD

#define FIELD(kind, member) [](CardConfig& c) -> Field { return kind{&c.member}; }
constexpr Key<CardConfig> card[] = {
    {"uuid", FIELD(UuidField, uuid), 0, 0, "required",
     "Which GPU the entry is about (`nvidia-smi -L` prints it). Only in `[[gpu]]`."},
    {"memory", FIELD(OptionalBytesField, memory), 64 * mib, tib, "asked from NVML",
     "Memory of the card. Needed only where NVML is missing. Only in `[[gpu]]`."},
    {"residue", FIELD(BytesField, sizes.residue), 0, 64 * gib, nullptr,
     "Memory kept for each process's contexts and modules, which cannot be moved."},
    {"headroom", FIELD(BytesField, sizes.headroom), 0, 64 * gib, nullptr,
     "Memory that is never given out; use `\"1GiB\"` with a display."},
    {"slots", FIELD(CountField, sizes.slots), 1, 64, nullptr,
     "Processes with a context at the same time. What a program sees as the card's size is memory - slots * residue - "
     "headroom."},
};
#undef FIELD

template <auto parse>
std::optional<std::string> check_with(std::string_view text);
template <>
std::optional<std::string> check_with<parse_port>(std::string_view text) {
  return parse_port(text) ? std::nullopt : std::optional<std::string>("is no port; write it like \"8000\"");
}
template <>
std::optional<std::string> check_with<parse_work_port>(std::string_view text) {
  return parse_work_port(text) ? std::nullopt
                               : std::optional<std::string>("names no port; write it like \"redis:6379\"");
}
template <>
std::optional<std::string> check_with<parse_path_rule>(std::string_view text) {
  return parse_path_rule(text) ? std::nullopt
                               : std::optional<std::string>(
                                     "is no rule; write it like \"GET /stats*\" or \"/ping\", with at most 42 "
                                     "characters of path");
}
template <>
std::optional<std::string> check_with<parse_source>(std::string_view text) {
  return parse_source(text) ? std::nullopt
                            : std::optional<std::string>("is no address; write it like \"10.0.0.0/8\" or \"fd00::1\"");
}

#define FIELD(kind, member) [](ServiceConfig& c) -> Field { return kind{&c.member}; }
#define LIST(member, parse) [](ServiceConfig& c) -> Field { return ListField{&c.member, check_with<parse>}; }
constexpr Key<ServiceConfig> service[] = {
    {"tenant", FIELD(TextField, tenant), 0, 0, "required",
     "Whose requests the entry is about: the name `lull status` shows."},
    {"pipeline", FIELD(TextField, pipeline), 0, 0, "none",
     "Services with the same text here are used one after another by a request: one of them at a time has a claim to "
     "memory. For programs that come after it is read."},
    {"ports", LIST(ports, parse_port), 0, 0, "the ports it is seen to listen on",
     "Where its requests come in, and nowhere else: the port of a proxy in front of it, or those of its own ports that "
     "are for requests."},
    {"wake_on", LIST(wake_on, parse_work_port), 0, 0, "none",
     "Where it fetches its work itself, as `\"redis:6379\"`: what comes in on its connections to such a port counts as "
     "a "
     "request. The name before the port is for people."},
    {"min_request_bytes", FIELD(SmallBytesField, min_request_bytes), 0, gib, nullptr,
     "A request counts from this many bytes on."},
    {"ignore", LIST(ignore, parse_path_rule), 0, 0, "health checks and metrics",
     "Requests over plain HTTP that are none, in addition to the usual ones: `\"GET /stats*\"`, `\"/ping\"`; with `!` "
     "before it one that counts all the same."},
    {"ignore_from", LIST(ignore_from, parse_source), 0, 0, "none",
     "Senders whose requests are none, as `\"10.0.0.0/8\"`."},
};
#undef LIST
#undef FIELD

constexpr Section sections[] = {{"", top_keys}, {"limits", limit_keys}, {"policy", policy_keys}};

using Problem = std::optional<std::string>;

Problem check(std::uint64_t value, std::uint64_t least, std::uint64_t most, std::string (*show)(std::uint64_t)) {
  if (value >= least && value <= most) return std::nullopt;
  return fmt::format("must be between {} and {}", show(least), show(most));
}

Problem take_bytes(std::string_view text, std::uint64_t& out, std::uint64_t least, std::uint64_t most) {
  const auto value = parse_bytes(text);
  if (!value) return "is no size; write it like \"20GiB\" or \"600MB\"";
  out = *value;
  return check(*value, least, most, show_bytes);
}

Problem take_time(std::string_view text, std::uint64_t& out, std::uint64_t least, std::uint64_t most) {
  const auto value = parse_time(text);
  if (!value) return "is no duration; write it like \"30s\", \"20ms\" or \"10min\"";
  out = *value;
  return check(*value, least, most, show_time);
}

struct Setter {
  std::string_view text;
  std::uint64_t least, most;

  Problem operator()(BytesField f) const { return take_bytes(text, *f.value, least, most); }
  Problem operator()(OptionalBytesField f) const { return take_bytes(text, f.value->emplace(), least, most); }
  Problem operator()(SmallBytesField f) const {
    std::uint64_t bytes = 0;
    auto problem = take_bytes(text, bytes, least, most);
    if (!problem) *f.value = static_cast<std::uint32_t>(bytes);
    return problem;
  }
  Problem operator()(TimeField f) const { return take_time(text, *f.value, least, most); }
  Problem operator()(OptionalTimeField f) const { return take_time(text, f.value->emplace(), least, most); }
  Problem operator()(MicrosecondsField f) const {
    std::uint64_t ns = 0;
    auto problem = take_time(text, ns, least, most);
    if (!problem) *f.value = static_cast<std::uint32_t>(ns / 1000);
    return problem;
  }
  Problem operator()(CountField f) const {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return "is no whole number";
    *f.value = value;
    return check(value, least, most, [](std::uint64_t n) { return fmt::format("{}", n); });
  }
  Problem operator()(EitherField f) const {
    *f.value = text == f.if_true;
    if (*f.value || text == f.if_false) return std::nullopt;
    return fmt::format("is neither \"{}\" nor \"{}\"", f.if_false, f.if_true);
  }
  Problem operator()(ListField f) const {
    if (f.values->size() >= most_listed) return fmt::format("is too much: at most {} of them", most_listed);
    if (auto problem = f.check(text)) return problem;
    f.values->emplace_back(text);
    return std::nullopt;
  }
  Problem operator()(TextField f) const {
    *f.value = text;
    return text.empty() ? Problem("is empty") : std::nullopt;
  }
  Problem operator()(PathField f) const {
    *f.value = text;
    if (text.starts_with('/')) return std::nullopt;
    return "is no absolute path";
  }
  Problem operator()(UuidField f) const {
    const auto value = parse_uuid(text);
    if (!value)
      return "is no GPU's uuid; `nvidia-smi -L` prints them, like \"GPU-01234567-89ab-cdef-0123-456789abcdef\"";
    *f.value = *value;
    return std::nullopt;
  }
};

struct Shower {
  const char* absent;
  std::string operator()(BytesField f) const { return "\"" + show_bytes(*f.value) + "\""; }
  std::string operator()(OptionalBytesField) const { return absent; }
  std::string operator()(SmallBytesField f) const { return "\"" + show_bytes(*f.value) + "\""; }
  std::string operator()(TimeField f) const { return "\"" + show_time(*f.value) + "\""; }
  std::string operator()(OptionalTimeField) const { return absent; }
  std::string operator()(MicrosecondsField f) const { return "\"" + show_time(*f.value * 1000ull) + "\""; }
  std::string operator()(CountField f) const { return fmt::format("{}", *f.value); }
  std::string operator()(EitherField f) const { return fmt::format("`\"{}\"`", *f.value ? f.if_true : f.if_false); }
  std::string operator()(PathField) const { return absent; }
  std::string operator()(UuidField) const { return absent; }
  std::string operator()(ListField) const { return absent; }
  std::string operator()(TextField) const { return absent; }
};

}  // namespace

std::span<const Section> config_sections() { return sections; }
std::span<const Key<CardConfig>> card_keys() { return card; }
std::span<const Key<ServiceConfig>> service_keys() { return service; }
bool is_card_identity(std::string_view key) { return key == "uuid" || key == "memory"; }

std::optional<std::string> set_field(const Field& field, std::string_view text, std::uint64_t least,
                                     std::uint64_t most) {
  return std::visit(Setter{text, least, most}, field);
}

std::string show_field(const Field& field, const char* absent) { return std::visit(Shower{absent}, field); }

}  // namespace lull

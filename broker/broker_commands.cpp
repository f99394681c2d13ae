// broker/broker_commands.cpp: what the control socket can be asked beside events, as JSON in and out. Whoever reaches
// it is trusted with the cards (root, group lull), not with the broker: everything is parsed and bounded.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/config_show.h"
#include "broker/log.h"
#include "broker/soon.h"
#include "broker/units.h"

namespace lull {
namespace {

using nlohmann::json;
using policy::Time;

constexpr Time longest_wish = 7 * 86400 * policy::second;

std::optional<std::uint64_t> count_in(const json& request, const char* key) {
  const auto at = request.find(key);
  return at != request.end() && at->is_number_unsigned() ? std::optional(at->get<std::uint64_t>()) : std::nullopt;
}

}  // namespace

Control::Commands Broker::commands() {
  return {{"status",
           [this](const json&, unsigned) {
             if (!ticking_) ask_gauge();  // for the next question: nobody else asks while there is no client
             return status();
           }},
          {"wake",
           [this](const json& request, unsigned) {
             const auto whom = request.find("whom");
             if (whom == request.end() || !whom->is_string()) return problem("whom is missing: a tenant");
             return wake(whom->get<std::string>(), count_in(request, "for_ns").value_or(usual_wake));
           }},
          {"chart", [this](const json&, unsigned) { return chart(); }},
          {"free", [this](const json& request, unsigned uid) { return free_for(request, uid); }},
          {"config", [this](const json&, unsigned) { return json::parse(config_json(config_)); }},
          order_command("pause", {policy::Order::pause}),
          order_command("release", {policy::Order::release}),
          order_command("resume", {policy::Order::none}),
          order_command("hold", {policy::Order::hold}),
          order_command("unhold", {policy::Order::none, true})};
}

std::pair<std::string, Control::Command> Broker::order_command(const char* name, OrderCommand command) {
  return {name, [this, command](const json& request, unsigned uid) { return order(request, uid, command); }};
}

// By number or UUID; null stands for the only one. No such card: null pointer.
Arbiter* Broker::arbiter_named(const json& gpu) {
  if (gpu.is_null()) return arbiters_.size() == 1 ? arbiters_.front().get() : nullptr;
  for (std::size_t i = 0; i < arbiters_.size(); ++i)
    if (gpu == i || gpu == show_uuid(arbiters_[i]->card().uuid)) return arbiters_[i].get();
  return nullptr;
}

json Broker::free_for(const json& request, unsigned uid) {
  const Time now = now_ns();
  auto* arbiter = arbiter_named(request.value("gpu", json()));
  if (!arbiter) return problem("which gpu? its number or UUID, as `lull status` shows them");
  const auto bytes = count_in(request, "bytes"), duration = count_in(request, "for_ns");
  if (!bytes || !duration || *duration == 0 || *duration > longest_wish)
    return problem("free needs bytes, and for_ns of at most a week");
  const auto most = arbiter->most_to_free();
  if (*bytes > most)
    return problem(
        fmt::format("at most {} can be made free: the rest is held by other programs, by contexts, and by "
                    "what cannot be moved",
                    show_bytes(most)));
  arbiter->set_wish(*bytes == 0 ? std::nullopt : std::optional(Wish{*bytes, 0, now, now + *duration, uid}));
  log::info("free gpu={} bytes={} for={} uid={}", show_uuid(arbiter->card().uuid), show_bytes(*bytes),
            show_time(*duration), uid);
  events_.append({{"event", "free"},
                  {"t_ns", now},
                  {"gpu", show_uuid(arbiter->card().uuid)},
                  {"bytes", *bytes},
                  {"for_ns", *duration},
                  {"uid", uid}});
  settle_all(now);
  return {{"gpu", show_uuid(arbiter->card().uuid)},
          {"bytes", *bytes},
          {"for_ns", *duration},
          {"until_ns", now + *duration}};
}

}  // namespace lull

// broker/broker_measure.cpp: when which card is measured. At first use of a card with a driver, while nobody is on it:
// whoever comes meanwhile does not wait for it. What was found is kept, and used to predict switches.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/log.h"
#include "broker/units.h"

namespace lull {
namespace {

using policy::Time;

constexpr Time look_again_after = policy::second;
constexpr unsigned most_tries = 3;  // that failed by themselves, not because somebody came

// A display's memory is nobody at work.
bool idle(const Arbiter& arbiter) {
  const auto& gpu = arbiter.state().gpu;
  return arbiter.state().clients.empty() && gpu.foreign <= gpu.capacity / 8;
}

}  // namespace

void Broker::load_speeds() {
  for (std::size_t i = 0; i < arbiters_.size(); ++i) {
    auto& state = measuring_[i].state;
    if (auto speed = speeds_.load(show_uuid(arbiters_[i]->card().uuid), driver_version_)) {
      arbiters_[i]->set_speed(std::move(*speed));
      state = "measured earlier";
    } else {
      state = speeds_.open() ? "not measured yet: waiting for the card to be idle" : "not measured: no state directory";
    }
  }
}

void Broker::measure_cards() {
  bool some_left = false;
  if (!gauge_seen_) return measure_.set_time(now_ns() + look_again_after);  // who else is on the card?
  for (std::size_t i = 0; i < arbiters_.size() && speeds_.open() && config_.measure; ++i) {
    const auto& arbiter = *arbiters_[i];
    if (arbiter.speed() || measuring_[i].tries >= most_tries) continue;
    some_left = true;
    if (!idle(arbiter) || measurer_.busy()) continue;
    measuring_[i] = {measuring_[i].tries, true, "being measured"};
    measurer_.start(show_uuid(arbiter.card().uuid));
  }
  if (some_left) ask_gauge();
  measure_.set_time(some_left ? now_ns() + look_again_after : policy::never);
}

void Broker::needs_card(std::size_t card) {
  if (!std::exchange(measuring_[card].now, false)) return;
  measuring_[card].state = "not measured yet: somebody needed the card";
  measurer_.cancel();
}

void Broker::on_measured() {
  auto answer = measurer_.take();
  if (!answer) return;
  for (std::size_t i = 0; i < arbiters_.size(); ++i) {
    auto& arbiter = *arbiters_[i];
    auto& [tries, now, state] = measuring_[i];
    if (show_uuid(arbiter.card().uuid) != answer->uuid) continue;
    const bool called_off = !std::exchange(now, false);
    if (!answer->speed) {
      if (called_off) return;
      ++tries;
      state = "not measured: " + answer->why_not;
      log::notice("gpu {} is not measured why=\"{}\"", answer->uuid, answer->why_not);
      return;
    }
    const auto& s = *answer->speed;
    log::info("gpu {} measured out={}/s in={}/s both={}/s+{}/s knee={}", answer->uuid, show_bytes(s.to_host),
              show_bytes(s.to_device), show_bytes(s.to_host_both), show_bytes(s.to_device_both), show_bytes(s.knee));
    state = answer->kept ? "measured" : "measured; could not be kept in the state directory";
    events_.append({{"event", "measured"}, {"t_ns", now_ns()}, {"gpu", answer->uuid}, {"speed", json_of(s)}});
    arbiter.set_speed(std::move(*answer->speed));
  }
}

}  // namespace lull

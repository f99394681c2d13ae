#include "tests/driver/copy/engine_time.h"

#include <algorithm>

#include "tests/driver/card/clock.h"
#include "tests/driver/card/link.h"
#include "tests/driver/card/settings.h"
#include "tests/driver/context/context.h"

namespace lull::sim {
namespace {

// Bytes a nanosecond of this machine's clock.
double real_rate(std::uint64_t bytes_per_s) {
  return static_cast<double>(bytes_per_s) * 1e-9 / settings().card.time_scale;
}

Engine engine_of(Route route) {
  if (route == Route::to_device) return Engine::to_device;
  return route == Route::to_host ? Engine::to_host : Engine::within_device;
}

Transfer transfer_of(Engine engine, std::uint64_t ready_ns, std::size_t bytes, bool pageable) {
  const Profile& card = settings().card;
  const double share = pageable ? static_cast<double>(card.pageable_percent) / 100 : 1;
  Transfer transfer{
      .ready_ns = ready_ns, .latency_ns = stretched_ns(card.copy_latency_ns), .bytes = bytes, .alone = 1, .duplex = 1};
  if (engine == Engine::within_device) {
    transfer.alone = transfer.duplex = real_rate(card.device_copy);
  } else {
    const bool in = engine == Engine::to_device;
    transfer.alone = share * real_rate(in ? card.to_device : card.to_host);
    transfer.duplex = share * real_rate(in ? card.to_device_duplex : card.to_host_duplex);
  }
  return transfer;
}

}  // namespace

EngineTime::EngineTime(const Running& running, Route route, std::size_t bytes, bool pageable) : running_(running) {
  if (route == Route::within_host) return;
  const Engine engine = engine_of(route);
  ticket_ = running.device.card->queue_transfer(engine, transfer_of(engine, running.ready_ns, bytes, pageable));
}

Span EngineTime::wait() const {
  if (!ticket_) return {running_.ready_ns, std::max(now_ns(), running_.ready_ns)};
  Span known{running_.ready_ns, running_.ready_ns};
  while (true) {
    const Span span = running_.device.card->span_of(*ticket_);
    if (span.end_ns == 0) return known;
    known = span;
    if (now_ns() >= known.end_ns || running_.life.stop) return known;
    sleep_until(known.end_ns, running_.life);
  }
}

Span fill_span(const Running& running, std::size_t bytes) {
  const Profile& card = settings().card;
  const auto moving_ns = static_cast<std::uint64_t>(static_cast<double>(bytes) / real_rate(card.device_fill));
  const Span span{running.ready_ns, running.ready_ns + stretched_ns(card.copy_latency_ns) + moving_ns};
  sleep_until(span.end_ns, running.life);
  return span;
}

}  // namespace lull::sim

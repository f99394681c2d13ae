#include "broker/loop.h"

#include <pthread.h>
#include <csignal>

namespace lull {
namespace {

Error failed(const char* what, int negative_errno) { return {what, -negative_errno}; }

}  // namespace

Source::State::~State() {
  if (source) (void)sd_event_source_disable_unref(source);  // always null
}

void Source::set_time(policy::Time at) {
  if (!state_) return;
  if (at == policy::never) return pause();
  // These fail only for sources of another kind or after a fork: neither happens here.
  (void)sd_event_source_set_time(state_->source, at / 1000);
  (void)sd_event_source_set_enabled(state_->source, SD_EVENT_ONESHOT);
}

void Source::set_events(std::uint32_t epoll_events) {
  if (state_) (void)sd_event_source_set_io_events(state_->source, epoll_events);
}

void Source::pause() {
  if (state_) (void)sd_event_source_set_enabled(state_->source, SD_EVENT_OFF);
}

void Source::resume() {
  if (state_) (void)sd_event_source_set_enabled(state_->source, SD_EVENT_ON);
}

Result<Loop> Loop::make() {
  sd_event* event = nullptr;
  if (const int r = sd_event_new(&event); r < 0) return failed("event loop", r);
  return Loop(event);
}

Loop::~Loop() {
  if (event_) sd_event_unref(event_);
}

Result<Source> Loop::io(int fd, std::uint32_t epoll_events, Urgency urgency,
                        std::function<void(std::uint32_t)> handler) {
  auto state = std::make_unique<Source::State>();
  state->handler = std::move(handler);
  const auto call = [](sd_event_source*, int, std::uint32_t events, void* data) {
    static_cast<Source::State*>(data)->handler(events);
    return 0;
  };
  if (const int r = sd_event_add_io(event_, &state->source, fd, epoll_events, call, state.get()); r < 0)
    return failed("watch descriptor", r);
  (void)sd_event_source_set_priority(state->source, static_cast<int>(urgency));
  return Source(std::move(state));
}

Result<Source> Loop::timer(Urgency urgency, std::function<void()> handler) {
  auto state = std::make_unique<Source::State>();
  state->handler = [handler = std::move(handler)](std::uint32_t) { handler(); };
  const auto call = [](sd_event_source*, std::uint64_t, void* data) {
    static_cast<Source::State*>(data)->handler(0);
    return 0;
  };
  // An accuracy of 1 us: the default lets timers slip by up to a quarter of a second to save wake-ups.
  if (const int r = sd_event_add_time(event_, &state->source, CLOCK_MONOTONIC, 0, 1, call, state.get()); r < 0)
    return failed("timer", r);
  (void)sd_event_source_set_priority(state->source, static_cast<int>(urgency));
  (void)sd_event_source_set_enabled(state->source, SD_EVENT_OFF);
  return Source(std::move(state));
}

Result<Source> Loop::signal(int number, std::function<void()> handler) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  if (const int r = pthread_sigmask(SIG_BLOCK, &set, nullptr); r != 0) return Error{"block signal", r};
  auto state = std::make_unique<Source::State>();
  state->handler = [handler = std::move(handler)](std::uint32_t) { handler(); };
  const auto call = [](sd_event_source*, const signalfd_siginfo*, void* data) {
    static_cast<Source::State*>(data)->handler(0);
    return 0;
  };
  if (const int r = sd_event_add_signal(event_, &state->source, number, call, state.get()); r < 0)
    return failed("watch signal", r);
  return Source(std::move(state));
}

Result<Source> Loop::later(std::function<void()> handler) {
  auto state = std::make_unique<Source::State>();
  state->handler = [handler = std::move(handler)](std::uint32_t) { handler(); };
  const auto call = [](sd_event_source*, void* data) {
    static_cast<Source::State*>(data)->handler(0);
    return 0;
  };
  if (const int r = sd_event_add_post(event_, &state->source, call, state.get()); r < 0)
    return failed("post source", r);
  return Source(std::move(state));
}

void Loop::serve_watchdog() { (void)sd_event_set_watchdog(event_, 1); }  // 0: nobody asked for it

Status Loop::run() {
  if (const int r = sd_event_loop(event_); r < 0) return failed("event loop", r);
  return Done{};
}

void Loop::stop() { (void)sd_event_exit(event_, 0); }

}  // namespace lull

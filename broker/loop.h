// broker/loop.h: the event loop: a thin owner of sd-event sources. One thread.
//
// A handler may destroy any source but the one it is called from; what has to go from inside its own handler is left to
// later(), which runs when the handlers of this round are done.
#pragma once
#include <systemd/sd-event.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "broker/policy.h"
#include "protocol/result.h"

namespace lull {

// Which of several ready sources is served first.
enum class Urgency : int { request = -20, client = -10, normal = 0, report = 10 };

// One registered source; it ends with its owner.
class Source {
 public:
  Source() = default;
  Source(Source&&) = default;
  Source& operator=(Source&&) = default;
  void set_time(policy::Time at);  // timers: the next time, CLOCK_MONOTONIC; policy::never: not at all
  void set_events(std::uint32_t epoll_events);
  void pause();   // no more calls ...
  void resume();  // ... until this
  explicit operator bool() const { return state_ != nullptr; }

 private:
  friend class Loop;
  struct State {
    sd_event_source* source = nullptr;
    std::function<void(std::uint32_t)> handler;
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State();
  };
  explicit Source(std::unique_ptr<State> state) : state_(std::move(state)) {}
  std::unique_ptr<State> state_;
};

class Loop {
 public:
  static Result<Loop> make();
  Loop(Loop&& o) noexcept : event_(std::exchange(o.event_, nullptr)) {}
  Loop& operator=(Loop&&) = delete;
  ~Loop();

  Result<Source> io(int fd, std::uint32_t epoll_events, Urgency, std::function<void(std::uint32_t)>);
  Result<Source> timer(Urgency, std::function<void()>);      // off until set_time
  Result<Source> signal(int number, std::function<void()>);  // blocks the signal; call before any thread starts
  Result<Source> later(std::function<void()>);               // after each round of handlers
  void serve_watchdog();                                     // where the service manager asks for it
  Status run();
  void stop();

 private:
  explicit Loop(sd_event* event) : event_(event) {}
  sd_event* event_ = nullptr;
};

}  // namespace lull

// tests/broker/lulld.h: a real lulld in a directory of its own, and clients that speak to it as a shim would.
#pragma once
#include <unistd.h>

#include <span>
#include <string>
#include <vector>

#include "broker/policy.h"
#include "nlohmann/json.hpp"
#include "protocol/fd.h"
#include "protocol/memory.h"
#include "protocol/messages.h"
#include "protocol/page.h"
#include "protocol/socket.h"

namespace lull {

inline constexpr const char* test_uuid = "GPU-01234567-89ab-cdef-0123-456789abcdef";

// Asks every few milliseconds until it holds; false after ten seconds.
template <class F>
bool eventually(F&& holds) {
  for (int i = 0; i < 5000; ++i) {
    if (holds()) return true;
    ::usleep(2000);
  }
  return holds();
}

struct Ended {
  int status;          // exit status, or 128 + signal
  std::string output;  // standard output and error
};
Ended run_program(const std::vector<std::string>& argv, const std::vector<std::string>& env = {});

class Lulld {
 public:
  // A card of 1 GiB; `more` goes before [gpu] in the configuration.
  explicit Lulld(const std::string& more = "");
  ~Lulld();
  Lulld(const Lulld&) = delete;
  Lulld& operator=(const Lulld&) = delete;

  void start();
  Ended stop(int signal);  // waits until it has ended
  void kill(int signal) const;
  void write_config(const std::string& more) const;
  std::string log() const;
  std::string directory() const { return directory_; }
  std::string run_dir() const { return directory_ + "/run"; }
  std::string config() const { return directory_ + "/lull.toml"; }
  std::string socket(Class) const;
  int pid() const { return pid_; }

  Fd control() const;
  nlohmann::json ask(const std::string& line) const;  // one answer
  nlohmann::json status() const { return ask("{\"cmd\":\"status\"}"); }
  nlohmann::json gpu() const { return status()["gpus"][0]; }
  nlohmann::json client(std::uint32_t number) const;  // null: not there

  static std::string program(const char* name);  // lulld or lull, as built

 private:
  std::string directory_;
  int pid_ = 0;
};

// One client. Does nothing by itself: act() does at once what the page asks for.
class FakeShim {
 public:
  FakeShim(const Lulld&, Class, const char* tenant = "");
  bool hello(std::uint16_t major = protocol_major, std::uint16_t minor = protocol_minor,
             std::uint64_t backing = 0);  // true: welcomed
  void attach(std::uint64_t needed, std::uint64_t resident = 0, const char* uuid = test_uuid);
  void act();
  void ring();
  std::optional<std::uint64_t> backing_limit() { return parse_limit(down.as<DownPage>()->backing_limit_plus_1.load()); }
  void return_down_to(std::uint64_t limit);
  bool receive();  // takes what the broker has sent; false: it has hung up
  bool hung_up();  // waits for it
  void send(std::span<const std::byte>);
  template <class P>
  bool acts_until(P&& holds) {
    return eventually([&] {
      act();
      return holds();
    });
  }

  DownGpu& asked() { return down.as<DownPage>()->gpu[0]; }
  UpGpu& said() { return up.as<UpPage>()->gpu[0]; }
  GateState gate() { return parse_gate(asked().gate.load())->state; }
  int socket() const { return socket_.get(); }

  std::uint32_t number = 0;  // the broker's
  std::string refused;       // its sentence
  struct Given {
    Fd fd;
    std::uint64_t bytes, number;
  };
  std::vector<Given> arenas;
  std::uint64_t arena_bytes = 0;
  unsigned spilled = 0, filled = 0;  // messages
  std::uint32_t flags = 0;           // HelloFlags
  bool busy = false;
  Mapping down, up;

 private:
  Fd socket_, doorbell_;
  std::string tenant_;
  std::uint64_t passed_ = 0;
};

}  // namespace lull

// tests/bench/open_gate.h: a broker that manages one client and leaves its gate open: the state a launch is measured
// in.
#pragma once
#include <cstdint>
#include <string>

#include "protocol/memory.h"
#include "protocol/page.h"

namespace lull::bench {

// Listens below a new temporary runtime directory, as a training class; gone with the object.
class OpenGate {
 public:
  OpenGate();
  ~OpenGate();
  OpenGate(const OpenGate&) = delete;
  OpenGate& operator=(const OpenGate&) = delete;

  const std::string& runtime_dir() const { return runtime_dir_; }
  // Welcomes the next client. Throws when none comes within 10 s. Its work in flight is bounded, unless that is 0.
  void welcome(std::uint32_t drain_limit_us = 0);
  // Whether the client has acted on the open gate. Waits at most 10 s.
  bool seen() const;

 private:
  std::string runtime_dir_;
  Fd listener_, client_, doorbell_;
  SharedMemory down_, up_;
};

}  // namespace lull::bench

// broker/lent.h: the arenas that one process has been given, and those it says it kept from an earlier broker.
//
// A descriptor of each stays here, so that what is returned, and what a process leaves behind, is freed by the broker:
// by punching the memory out, whatever else may still hold it. One that lies about it loses its own data.
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "broker/policy.h"
#include "protocol/fd.h"

namespace lull {

// Memory nobody may use any more; to be freed where it may take its time (Chores).
struct Garbage {
  Fd fd;
  policy::Bytes bytes;
};
void free_memory(const Garbage&);

class Lent {
 public:
  void add(Fd, policy::Bytes, std::uint64_t number);
  void send(int socket);                                // those not sent yet, as far as the socket takes them
  void claim(policy::Bytes);                            // what a process says it brings along
  void inherit(Lent&& of_same_process);                 // of an earlier connection of this process; after claim()
  bool take_back(std::uint64_t number, policy::Bytes);  // false: never given, or of another size
  policy::Bytes bytes() const { return bytes_ + claimed_; }
  // Descriptors for a process that does not come back. They are only closed: it may still use the memory, which goes
  // with its mappings (at once where it has become another program) and is counted until it ends.
  std::vector<Fd> let_go();
  std::vector<Garbage> take_unsent();
  std::vector<Garbage> take_all();
  std::vector<Garbage> take_returned() { return std::exchange(returned_, {}); }

 private:
  struct Arena {
    Fd fd;
    policy::Bytes bytes;
    std::uint64_t number;
    bool sent;
  };
  template <class P>
  std::vector<Garbage> take(P&& which);
  std::deque<Arena> arenas_;
  std::vector<Garbage> returned_;
  policy::Bytes bytes_ = 0;    // of arenas_
  policy::Bytes claimed_ = 0;  // beyond them
};

// The number of the next arena. Random at first, so that no other broker's are the same.
class ArenaNumbers {
 public:
  ArenaNumbers();
  std::uint64_t next();

 private:
  std::uint64_t last_;
};

}  // namespace lull

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
#include "protocol/checksum.h"
#include "protocol/fd.h"

namespace lull {

// Memory nobody may use any more; to be freed where it may take its time (Chores).
struct Garbage {
  Fd fd;
  policy::Bytes bytes;
};
void free_memory(const Garbage&);

// Where the content of one arena is (protocol/messages.h).
struct OnDisk {
  // saving: a helper reads the memory. offered: the file is written, and the client does not know it yet. away: the
  // client has said `kept`; the memory is punched out. filling, back: it comes, and the client is told.
  enum class Stage : std::uint8_t { memory, saving, offered, away, filling, back };
  enum class Owed : std::uint8_t { nothing, spilled, filled, lost };
  Stage stage = Stage::memory;
  Owed owed = Owed::nothing;  // a message that the socket has not taken yet
  std::uint32_t turn = 0;
  Fd file, reader;             // stays when the content is back: what has not changed need not be written again
  Sum sum;                     // of what is in the file
  policy::Bytes changing = 0;  // of the content when it was parked, by the client's word
  unsigned tries = 0;          // to get it back, in vain
  bool lost = false;
};

class Lent {
 public:
  struct Arena {
    Fd fd;
    policy::Bytes bytes;
    std::uint64_t number;
    bool sent;
    OnDisk disk;
    bool in_memory() const { return disk.stage != OnDisk::Stage::away; }
  };

  void add(Fd, policy::Bytes, std::uint64_t number);
  void send(int socket);                                // those not sent yet, as far as the socket takes them
  void claim(policy::Bytes);                            // what a process says it brings along
  void inherit(Lent&& of_same_process);                 // of an earlier connection of this process; after claim()
  bool take_back(std::uint64_t number, policy::Bytes);  // false: never given, or of another size
  policy::Bytes bytes() const { return bytes_ + claimed_; }
  policy::Bytes away_bytes() const;     // of them, on disk alone
  policy::Bytes on_disk_bytes() const;  // files
  Arena* find(std::uint64_t number);    // that was sent; null: none
  template <class F>
  void for_each(F&& f) {
    for (auto& arena : arenas_) f(arena);
  }
  // The client will answer no more about files: what it needs of them it reads itself.
  std::vector<Fd> forget_files();
  // Descriptors for a process that does not come back. They are only closed: it may still use the memory, which goes
  // with its mappings (at once where it has become another program) and is counted until it ends.
  std::vector<Fd> let_go();
  std::vector<Garbage> take_unsent();
  std::vector<Garbage> take_all();
  std::vector<Garbage> take_returned() { return std::exchange(returned_, {}); }

 private:
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

// One simulated card: a file that every process using it maps. It holds the card's memory, the accounts of who has
// how much of it, and the engines that processes take in turns. A process that dies leaves its slot behind; whoever
// next lacks memory, or asks how much there is, gives back what the dead had.
#pragma once
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lull::sim {

inline constexpr std::size_t granule_bytes = 2u << 20;  // as on current cards

struct Extent {  // granules
  std::uint32_t first;
  std::uint32_t count;
};

struct Use {
  int pid;
  std::uint64_t bytes;
};

// Memory that several processes may hold, see card_share.cpp. The serial is never that of another share.
struct ShareId {
  std::uint32_t index;
  std::uint64_t serial;
};
struct EventId {  // of an event that several processes use, see card_events.cpp
  std::uint32_t index;
  std::uint64_t serial;
};
using ShareNote = std::array<std::uint64_t, 8>;  // what its maker tells those who come to hold it

struct MemoryInfo {
  std::uint64_t total, free;
};

struct Busy {                           // nanoseconds since the card was made
  std::uint64_t compute_ns, copies_ns;  // of the busier direction
};

struct Span {  // CLOCK_MONOTONIC nanoseconds, of modelled time as it is stretched to this machine
  std::uint64_t start_ns, end_ns;
};

// What moves bytes: one engine towards the device, one towards the host, one within the card.
enum class Engine { to_device, to_host, within_device };
inline constexpr std::size_t engine_count = 3;
enum class Role { user, observer };  // an observer has no slot and may hold nothing

// A transfer that has been queued on an engine.
struct QueuedTransfer {
  Engine engine;
  std::uint64_t id;
};

struct Transfer;  // see link.h
struct SharedEvent;
struct CardFile;  // the mapped head, see card_file.h

class Card {
 public:
  // Opens or creates the card's file; null with a reason otherwise.
  static std::unique_ptr<Card> attach(const std::string& path, std::uint64_t bytes, Role role, std::string& problem);

  // Physical memory, in granules anywhere on the card. False: the capacity is used up.
  bool take(std::size_t bytes, std::vector<Extent>& out);
  void give(std::span<const Extent> extents);
  std::byte* granule(std::uint32_t index) const { return memory_ + std::size_t{index} * granule_bytes; }

  // Makes memory of this process (all that one take gave) one that others may hold, too; empty: too many shares.
  std::optional<ShareId> share(std::span<const Extent> extents, const ShareNote& note);
  bool hold(const ShareId& id, std::vector<Extent>& out, ShareNote& note);  // false: there is no such share
  void drop(const ShareId& id);
  int descriptor_of(const ShareId& id);  // a reference of its own, until it is closed; -1: cannot be made
  std::optional<ShareId> share_of_descriptor(int fd);

  std::optional<EventId> make_event();  // empty: there are too many
  void end_event(const EventId& id);
  bool has_event(const EventId& id);
  std::uint64_t record_event(const EventId& id);  // the record's number, for this process to reach; 0: it is gone
  void reach_event(const EventId& id, std::uint64_t number);
  std::uint64_t latest_record(const EventId& id);  // 0: none
  bool record_reached(const EventId& id, std::uint64_t number);
  void wait_for_record(const EventId& id, std::uint64_t number);  // for some milliseconds at most

  // Memory that has a size and no place: contexts, modules.
  bool charge(std::size_t bytes);
  void refund(std::size_t bytes);

  // Memory that is missing, until it is less again or this process ends; false: so much is not free.
  bool withhold(std::uint64_t bytes);

  MemoryInfo memory();
  std::vector<Use> users();
  void uuid(std::uint8_t out[16]) const;

  // Queues a transfer behind those that the engine has; what it lasts depends on the other direction, see link.h.
  QueuedTransfer queue_transfer(Engine engine, const Transfer& transfer);
  // When it moves, as far as is known now: later transfers the other way can delay its end until that has passed.
  Span span_of(const QueuedTransfer& ticket);

  Busy busy();

  // The compute engine. A holder that computes for longer than a slice does not keep others out: they then run beside
  // it, as the time slices of a GPU would let them.
  bool begin_compute();  // false: beside somebody else, no end_compute
  void end_compute();
  bool compute_is_wanted() const;  // by another process
  void renew_compute();            // the holder lives, and has just seen that nobody waits

 private:
  Card() = default;
  bool enter(const std::string& path, int fd, std::uint64_t bytes, Role role, std::string& problem);
  bool map(int fd, std::string& problem);
  bool take_slot();
  void let_others_first();
  void give_back_the_dead();
  void drop_holder(std::size_t slot);
  SharedEvent* event(const EventId& id) const;
  void drop_events_of(std::size_t slot);
  void free_unheld_shares();
  int open_again() const;
  bool has_descriptor(std::uint32_t index) const;
  bool try_queue(Engine engine, const Transfer& transfer, QueuedTransfer& out);
  void settle(Engine engine);
  std::uint64_t used_bytes() const;

  CardFile* file_ = nullptr;
  std::byte* memory_ = nullptr;
  std::size_t slot_ = 0;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace lull::sim

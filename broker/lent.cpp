#include "broker/lent.h"

#include <fcntl.h>
#include <sys/random.h>

#include <algorithm>

#include "protocol/messages.h"
#include "protocol/socket.h"

namespace lull {

using policy::Bytes;

void free_memory(const Garbage& garbage) {
  // If it fails, the memory goes with the last mapping instead.
  (void)::fallocate(garbage.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(garbage.bytes));
}

void Lent::add(Fd fd, Bytes bytes, std::uint64_t number) {
  bytes_ += bytes;
  arenas_.push_back({std::move(fd), bytes, number, false, {}});
}

void Lent::send(int socket) {
  for (auto& arena : arenas_) {
    if (arena.sent) continue;
    auto message = make_message<lull::Arena>();
    message.bytes = arena.bytes;
    message.number = arena.number;
    const int fds[] = {arena.fd.get()};
    if (!send_message(socket, message, fds)) return;  // a full socket: the next tick; a broken one: its hang-up follows
    arena.sent = true;
  }
}

void Lent::claim(Bytes bytes) { claimed_ = bytes; }

void Lent::inherit(Lent&& other) {
  if (claimed_ == 0) {  // another program by now, or a new process with an old number: it knows of none
    for (auto& garbage : other.take_all()) returned_.push_back(std::move(garbage));
    return;
  }
  claimed_ -= std::min(claimed_, other.bytes_);
  bytes_ += other.bytes_;
  for (auto& arena : other.arenas_) arenas_.push_back(std::move(arena));
  other = Lent();
}

bool Lent::take_back(std::uint64_t number, Bytes bytes) {
  const auto at = std::find_if(arenas_.begin(), arenas_.end(),
                               [&](const Arena& a) { return a.number == number && a.bytes == bytes && a.sent; });
  if (at == arenas_.end()) {  // of an earlier broker, whose memory goes with the mapping
    const bool known = bytes <= claimed_;
    claimed_ -= known ? bytes : 0;
    return known;
  }
  bytes_ -= bytes;
  returned_.push_back({std::move(at->fd), bytes});
  if (at->disk.file) returned_.push_back({std::move(at->disk.file), bytes});
  arenas_.erase(at);
  return true;
}

template <class P>
std::vector<Garbage> Lent::take(P&& which) {
  std::vector<Garbage> taken;
  std::deque<Arena> kept;
  for (auto& arena : std::exchange(arenas_, {})) {
    if (!which(arena)) {
      kept.push_back(std::move(arena));
      continue;
    }
    bytes_ -= arena.bytes;
    taken.push_back({std::move(arena.fd), arena.bytes});
    if (arena.disk.file) taken.push_back({std::move(arena.disk.file), arena.bytes});
  }
  arenas_ = std::move(kept);
  return taken;
}

Bytes Lent::away_bytes() const {
  Bytes sum = 0;
  for (const auto& arena : arenas_) sum += arena.in_memory() ? 0 : arena.bytes;
  return sum;
}

Bytes Lent::on_disk_bytes() const {
  Bytes sum = 0;
  for (const auto& arena : arenas_) sum += arena.disk.file ? arena.bytes : 0;
  return sum;
}

Lent::Arena* Lent::find(std::uint64_t number) {
  const auto at =
      std::find_if(arenas_.begin(), arenas_.end(), [&](const Arena& a) { return a.number == number && a.sent; });
  return at == arenas_.end() ? nullptr : &*at;
}

std::vector<Fd> Lent::forget_files() {
  std::vector<Fd> closed;
  for (auto& arena : arenas_) {
    if (arena.disk.file) closed.push_back(std::move(arena.disk.file));
    arena.disk = {};
  }
  return closed;
}

std::vector<Fd> Lent::let_go() {
  std::vector<Fd> closed = forget_files();
  for (auto& arena : std::exchange(arenas_, {})) closed.push_back(std::move(arena.fd));
  claimed_ += std::exchange(bytes_, 0);
  return closed;
}

std::vector<Garbage> Lent::take_unsent() {
  return take([](const Arena& a) { return !a.sent; });
}

std::vector<Garbage> Lent::take_all() {
  return take([](const Arena&) { return true; });
}

ArenaNumbers::ArenaNumbers() : last_(0) {
  (void)!::getrandom(&last_, sizeof last_, GRND_NONBLOCK);  // cannot fail once the machine has started
}

std::uint64_t ArenaNumbers::next() {
  while (++last_ == 0) {
  }
  return last_;
}

}  // namespace lull

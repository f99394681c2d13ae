#include "broker/client.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "protocol/socket.h"

namespace lull {

Client::Client(Fd socket, Fd pidfd, const Peer& peer, Class klass, policy::ClientId id, policy::Time now)
    : socket_(std::move(socket)), pidfd_(std::move(pidfd)), since_(now) {
  who_ = {id, peer.pid, peer.uid, klass, {}};
}

Status Client::welcome(const Hello& hello) {
  hello_ = hello;
  lent.claim(hello.backing_bytes);
  who_.tenant = tenant_name(hello.tenant, who_.pid);
  auto down = make_shared_memory("lull-down", page_bytes, Writers::creator_only);
  if (!down) return down.error();
  auto up = make_shared_memory("lull-up", page_bytes, Writers::everyone);
  if (!up) return up.error();
  doorbell_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!doorbell_) return system_error("eventfd");
  down_ = std::move(*down);
  up_ = std::move(*up);
  down_writer_.emplace(down_.mapping.as<DownPage>());
  auto message = make_message<Welcome>();
  message.major = protocol_major;
  message.minor = *common_minor(hello.major, hello.minor);  // the caller has checked the major
  message.client = who_.id;
  const int fds[] = {down_.fd.get(), up_.fd.get(), doorbell_.get()};
  if (auto sent = send_message(socket_.get(), message, fds); !sent) return sent;
  welcomed_ = true;
  return Done{};
}

void Client::refuse(const char* sentence, std::uint32_t retry_ms) {
  auto message = make_message<Refused>();
  message.major = protocol_major;
  message.minor = protocol_minor;
  message.retry_ms = retry_ms;
  std::strncpy(message.sentence, sentence, sizeof message.sentence - 1);
  (void)send_message(socket_.get(), message);  // if it does not arrive, the hang-up does
}

void Client::hang_up(policy::Time now) {
  hung_up_ = now;
  socket_source.pause();  // leaves the poll set before its descriptor is closed; we may be inside its handler
  doorbell_source.pause();
  socket_.reset();
  doorbell_.reset();
  down_writer_.reset();
  down_ = SharedMemory();
  up_ = SharedMemory();
}

bool Client::attach(unsigned slot, std::size_t card) {
  if (cards_[slot] || std::find(cards_.begin(), cards_.end(), std::optional(card)) != cards_.end()) return false;
  cards_[slot] = card;
  return true;
}

bool Client::next_window() {
  const bool flooded = rings_ > 64;
  messages_ = rings_ = 0;
  return flooded;
}

}  // namespace lull

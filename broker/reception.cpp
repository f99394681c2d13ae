#include "broker/reception.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "broker/clock.h"
#include "broker/log.h"
#include "broker/units.h"
#include "protocol/socket.h"

namespace lull {
namespace {

constexpr int accepts_in_a_row = 16;
constexpr std::size_t most_clients = 1024;  // of all users
constexpr policy::Time handshake_time = 5 * policy::second;
constexpr std::uint32_t retry_ms = 1000;
constexpr policy::Time comes_back = 120 * policy::second;  // the shim tries again at least every minute

}  // namespace

Reception::Reception(Loop& loop, const Config& config, Host& host) : loop_(loop), config_(config), host_(host) {}

Status Reception::open(const RuntimeDir& run) {
  for (const auto& socket : run.classes) {
    auto source = loop_.io(socket.listener.get(), EPOLLIN, Urgency::normal,
                           [this, &socket](std::uint32_t) { accept_from(socket); });
    if (!source) return source.error();
    listeners_.push_back(std::move(*source));
  }
  auto gravedigger = loop_.later([this] { graveyard_.clear(); });
  if (!gravedigger) return gravedigger.error();
  gravedigger_ = std::move(*gravedigger);
  return Done{};
}

void Reception::accept_from(const ClassSocket& socket) {
  for (int i = 0; i < accepts_in_a_row; ++i) {  // the others after everybody else has had a turn
    Fd accepted(::accept4(socket.listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!accepted) return;  // nobody left, or no descriptors left: asked again at the next readiness
    admit(std::move(accepted), socket.klass);
  }
}

std::size_t Reception::count_of(unsigned uid) const {
  return static_cast<std::size_t>(std::count_if(clients_.begin(), clients_.end(), [uid](const auto& entry) {
    return entry.second->who().uid == uid;  // also those that have hung up: their processes are still watched
  }));
}

void Reception::admit(Fd socket, Class klass) {
  const auto peer = peer_of(socket.get());
  if (!peer) return log::warning("refused why=\"{}: {}\"", peer.error().what, std::strerror(peer.error().code));
  auto pidfd = pidfd_of(socket.get(), *peer);
  const bool seen = peer->pid != 0 && pidfd;
  const auto of_user = count_of(peer->uid);
  // Who is over the limit is told so, but not without a limit of its own.
  const auto places = klass == Class::training ? most_clients / 4 * 3 : most_clients;  // the rest is for services
  if (clients_.size() >= places || of_user >= 2 * config_.clients_per_uid)
    return log::warning("refused pid={} uid={} why=\"far too many connections\"", peer->pid, peer->uid);
  auto owned =
      std::make_unique<Client>(std::move(socket), seen ? std::move(*pidfd) : Fd(), *peer, klass, next_id_++, now_ns());
  Client& client = *owned;
  if (!seen)
    client.refusal = {"lulld cannot see this process; it must run in the host's pid namespace or below", 0};
  else if (of_user >= config_.clients_per_uid)
    client.refusal = {
        fmt::format("too many clients of uid {}: {} (limits.clients_per_uid)", peer->uid, config_.clients_per_uid),
        retry_ms};
  clients_.emplace(client.who().id, std::move(owned));
  if (const auto status = watch(client); !status) {
    log::error("drop pid={} uid={} why=\"{}: {}\"", peer->pid, peer->uid, status.error().what,
               std::strerror(status.error().code));
    return forget(client);
  }
  host_.on_connect();
}

Status Reception::watch(Client& client) {
  auto socket =
      loop_.io(client.socket(), EPOLLIN, Urgency::normal, [this, &client](std::uint32_t) { on_packet(client); });
  if (!socket) return socket.error();
  client.socket_source = std::move(*socket);
  if (client.pidfd() < 0) return Done{};  // not to be seen: it is only waiting for its refusal
  auto pidfd = loop_.io(client.pidfd(), EPOLLIN, Urgency::client, [this, &client](std::uint32_t) { on_pidfd(client); });
  if (!pidfd) return pidfd.error();
  client.pidfd_source = std::move(*pidfd);
  return Done{};
}

void Reception::refuse(Client& client, const std::string& sentence, std::uint32_t retry) {
  log::warning("refused pid={} uid={} class={} why=\"{}\"", client.who().pid, client.who().uid,
               name_of(client.who().klass), sentence);
  client.refuse(sentence.c_str(), retry);
  forget(client);
}

void Reception::on_packet(Client& client) {
  auto packet = receive_packet(client.socket());
  if (!packet) {
    const int code = packet.error().code;
    if (code == EAGAIN || code == EINTR) return;
    return code == EMSGSIZE ? drop(client, "packet too long") : lose(client, "socket");
  }
  if (packet->size == 0) return lose(client, "hang-up");
  if (!client.count_message()) return drop(client, "too many messages");
  const auto message = parse_message(packet->view());
  if (!message) return drop(client, "malformed message");
  if (const auto* hello = std::get_if<Hello>(&*message)) return on_hello(client, *hello);
  if (const auto* attach = std::get_if<Attach>(&*message)) {
    if (!client.welcomed()) return drop(client, "attach before hello");
    if (const auto status = host_.on_attach(client, *attach); !status) drop(client, status.error().what);
  }
  if (const auto* spill = std::get_if<Spill>(&*message)) return on_spill(client, *spill);
  if (const auto* returned = std::get_if<Returned>(&*message)) {
    if (!client.welcomed()) return drop(client, "return before hello");
    if (!client.lent.take_back(returned->number, returned->bytes)) return;  // nothing is gained by making it up
    client.uncount_message();
    discard(client.lent.take_returned());
    host_.on_returned(client, *returned);
  }
}

void Reception::on_spill(Client& client, const Spill& spill) {
  if (!client.welcomed()) return drop(client, "spill before hello");
  host_.on_spill(client, spill);
}

void Reception::on_hello(Client& client, const Hello& hello) {
  if (client.welcomed()) return drop(client, "second hello");
  if (client.refusal) return refuse(client, client.refusal->sentence, client.refusal->retry_ms);
  if (!common_minor(hello.major, hello.minor))
    return refuse(
        client,
        fmt::format(
            "liblull speaks protocol {}.{}, lulld {}.{}; install the same version of both and restart the program",
            hello.major, hello.minor, protocol_major, protocol_minor),
        0);
  if (hello.backing_bytes > 1ull << 46) return drop(client, "impossible backing");
  if (const auto status = client.welcome(hello); !status) return drop(client, status.error().what);
  auto bell =
      loop_.io(client.doorbell(), EPOLLIN, Urgency::client, [this, &client](std::uint32_t) { on_ring(client); });
  if (!bell) return drop(client, bell.error().what);
  client.doorbell_source = std::move(*bell);
  inherit(client);
  host_.on_welcome(client);
}

// An earlier connection of the same process has nothing to wait for any more. What it was lent is this one's, and what
// its owner has said of it.
void Reception::inherit(Client& client) {
  for (auto at = clients_.begin(); at != clients_.end();) {
    Client& other = *(at++)->second;
    if (other.who().pid != client.who().pid || other.connected()) continue;
    client.lent.inherit(std::move(other.lent));
    if (other.who().uid == client.who().uid) client.order = other.order;
    forget(other);
  }
  discard(client.lent.take_returned());
}

void Reception::discard(std::vector<Garbage> garbage) {
  for (auto& each : garbage) garbage_.push_back(std::move(each));
}

void Reception::on_ring(Client& client) {
  std::uint64_t count = 0;
  (void)!::read(client.doorbell(), &count, sizeof count);
  if (!client.count_ring()) return client.doorbell_source.pause();  // read at the next tick anyway
  if (const auto status = host_.on_doorbell(client); !status) drop(client, status.error().what);
}

void Reception::on_pidfd(Client& client) {
  if (client.connected()) lose(client, "exit");
  const auto id = client.who().id;
  if (!clients_.contains(id)) return;
  host_.on_dead(client);
  forget(client);
}

void Reception::drop(Client& client, const char* why) {
  ++dropped_;
  log::warning("drop client={} pid={} uid={} tenant=\"{}\" why=\"{}\"", client.who().id, client.who().pid,
               client.who().uid, client.who().tenant, why);
  lose(client, why);
}

// What it holds stays counted until the process is gone; only its turn is over.
void Reception::exiting(int pid) {
  for (auto& [id, client] : clients_)
    if (client->who().pid == pid && client->welcomed() && client->connected()) return lose(*client, "exit");
}

// The process may live on; what it holds on the cards stays held until its process ends.
void Reception::lose(Client& client, const char* why) {
  if (!client.connected()) return;
  const bool welcomed = client.welcomed();
  if (welcomed) host_.on_lost(client, why);
  discard(client.lent.take_unsent());
  for (auto& file : client.lent.forget_files()) closed_.push_back(std::move(file));
  client.hang_up(now_ns());
  if (!welcomed) forget(client);
}

void Reception::forget(Client& client) {
  client.socket_source.pause();
  client.doorbell_source.pause();
  client.pidfd_source.pause();
  const auto at = clients_.find(client.who().id);
  if (at == clients_.end()) return;
  discard(client.lent.take_all());  // its process is gone, or was never given any
  graveyard_.push_back(std::move(at->second));
  clients_.erase(at);
}

void Reception::tick(policy::Time now) {
  std::vector<Client*> late;
  for (auto& [id, client] : clients_) {
    if (!client->connected()) {
      if (now - client->hung_up() > comes_back)
        for (auto& fd : client->lent.let_go()) closed_.push_back(std::move(fd));
      continue;
    }
    if (client->next_window()) client->doorbell_source.resume();
    if (!client->welcomed() && now - client->since() > handshake_time) late.push_back(client.get());
    client->send_arenas();
  }
  for (auto* client : late) drop(*client, "no hello");
}

Client* Reception::find(policy::ClientId id) {
  const auto at = clients_.find(id);
  return at == clients_.end() || !at->second->connected() ? nullptr : at->second.get();
}

}  // namespace lull

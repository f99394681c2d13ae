#include "broker/control.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "broker/log.h"
#include "protocol/socket.h"

namespace lull {
namespace {

using nlohmann::json;
constexpr std::size_t most_peers = 32;
constexpr std::size_t longest_request = 16 << 10;
constexpr std::size_t most_unread = 8 << 20;

}  // namespace

json problem(const std::string& text) { return {{"error", text}}; }

Control::Control(Loop& loop, EventLog& events, Commands commands)
    : loop_(loop), events_(events), commands_(std::move(commands)) {
  events_.follower = [this](const std::string& line) {
    for (auto& peer : peers_)
      if (peer->following && !peer->gone) say(*peer, line);
  };
}

lull::Status Control::open(int listener) {
  auto source =
      loop_.io(listener, EPOLLIN, Urgency::report, [this, listener](std::uint32_t) { accept_from(listener); });
  if (!source) return source.error();
  listener_ = std::move(*source);
  auto gravedigger = loop_.later([this] { peers_.remove_if([](const auto& peer) { return peer->gone; }); });
  if (!gravedigger) return gravedigger.error();
  gravedigger_ = std::move(*gravedigger);
  return Done{};
}

void Control::accept_from(int listener) {
  auto peer = std::make_unique<Peer>();
  peer->socket = Fd(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!peer->socket) return;
  const auto who = peer_of(peer->socket.get());
  if (!who) return log::warning("control why=\"{}\"", who.error().what);
  peer->uid = who->uid;
  if (peers_.size() >= most_peers) return say(*peer, dump(problem("too many connections to the control socket")));
  auto source = loop_.io(peer->socket.get(), EPOLLIN, Urgency::report,
                         [this, p = peer.get()](std::uint32_t events) { on_ready(*p, events); });
  if (!source) return log::warning("control why=\"{}\"", source.error().what);
  peer->source = std::move(*source);
  peers_.push_back(std::move(peer));
}

void Control::on_ready(Peer& peer, std::uint32_t events) {
  if (events & EPOLLOUT) write(peer);
  if (!peer.gone && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) read(peer);
}

void Control::read(Peer& peer) {
  char buffer[4096];
  const auto got = ::recv(peer.socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return leave(peer);
  peer.in.append(buffer, static_cast<std::size_t>(got));
  for (auto end = peer.in.find('\n'); end != std::string::npos && !peer.gone && !peer.last; end = peer.in.find('\n')) {
    const auto line = peer.in.substr(0, end);
    peer.in.erase(0, end + 1);
    answer(peer, line);
  }
  if (peer.in.size() <= longest_request || peer.gone) return;
  peer.in.clear();
  peer.last = true;
  say(peer, dump(problem("request too long")));
}

void Control::answer(Peer& peer, std::string_view line) {
  if (line.size() > longest_request) {
    peer.last = true;
    return say(peer, dump(problem("request too long")));
  }
  const auto request = json::parse(line, nullptr, false);
  if (!request.is_object())
    return say(peer, dump(problem("a request is a JSON object on one line, as {\"cmd\":\"status\"}")));
  const auto cmd = request.find("cmd");
  if (cmd != request.end() && *cmd == "events") return tell_events(peer, request);
  const auto command =
      cmd != request.end() && cmd->is_string() ? commands_.find(cmd->get_ref<const std::string&>()) : commands_.end();
  if (command != commands_.end()) return say(peer, dump(command->second(request, peer.uid)));
  std::string known = "events";
  for (const auto& [name, run] : commands_) known += ", " + name;
  say(peer, dump(problem((cmd == request.end() || !cmd->is_string() ? "cmd is missing; known are: "
                                                                    : "unknown cmd; known are: ") +
                         known)));
}

void Control::tell_events(Peer& peer, const json& request) {
  const auto follow = request.find("follow");
  peer.following = follow != request.end() && follow->is_boolean() && follow->get<bool>();
  peer.last = !peer.following;
  std::string all;
  for (const auto& event : events_.lines()) (all += event) += '\n';
  if (all.empty()) return peer.last ? leave(peer) : void();
  all.pop_back();
  say(peer, all);
}

void Control::say(Peer& peer, const std::string& line) {
  if (peer.gone) return;
  if (peer.out.size() + line.size() > most_unread) return leave(peer);
  peer.out += line;
  peer.out += '\n';
  write(peer);
}

void Control::write(Peer& peer) {
  while (!peer.out.empty()) {
    const auto sent = ::send(peer.socket.get(), peer.out.data(), peer.out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) return leave(peer);
    peer.out.erase(0, static_cast<std::size_t>(sent));
  }
  if (peer.out.empty() && peer.last) return leave(peer);
  peer.source.set_events(peer.out.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

void Control::leave(Peer& peer) {
  peer.source.pause();
  peer.gone = true;  // destroyed when its handler has returned
}

}  // namespace lull

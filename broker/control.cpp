#include "broker/control.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "broker/log.h"
#include "broker/soon.h"

namespace lull {
namespace {

using nlohmann::json;
constexpr std::size_t most_peers = 32;
constexpr std::size_t longest_request = 16 << 10;
constexpr std::size_t most_unread = 8 << 20;

json problem(const std::string& text) { return {{"error", text}}; }

}  // namespace

Control::Control(Loop& loop, EventLog& events, Status status, Wake wake, Status chart)
    : loop_(loop), events_(events), status_(std::move(status)), wake_(std::move(wake)), chart_(std::move(chart)) {
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
  if (cmd == request.end() || !cmd->is_string())
    return say(peer, dump(problem("cmd is missing: status, events, chart, wake")));
  if (*cmd == "status") return say(peer, dump(status_()));
  if (*cmd == "chart") return say(peer, dump(chart_()));
  if (*cmd == "wake") {
    const auto whom = request.find("whom"), lasts = request.find("for_ns");
    if (whom == request.end() || !whom->is_string()) return say(peer, dump(problem("whom is missing: a tenant")));
    const bool said = lasts != request.end() && lasts->is_number_unsigned();
    return say(peer, dump(wake_(whom->get<std::string>(), said ? lasts->get<policy::Time>() : usual_wake)));
  }
  if (*cmd != "events") return say(peer, dump(problem("unknown cmd; known are: status, events, chart, wake")));
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

#include "broker/soon.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "broker/units.h"

namespace lull {
namespace {

constexpr std::size_t longest_word = 128;

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

std::optional<SoonWord> parse_soon(std::string_view text) {
  text = trimmed(text);
  if (text.size() > longest_word) return std::nullopt;
  for (const char c : text)
    if (c < ' ' || c > '~') return std::nullopt;
  SoonWord word;
  const auto space = text.find_last_of(' ');
  const auto last = space == std::string_view::npos ? text : text.substr(space + 1);
  if (const auto time = parse_time(last); time && !last.empty()) {
    word.lasts = std::min<policy::Time>(*time, longest_wake);
    text = space == std::string_view::npos ? std::string_view() : trimmed(text.substr(0, space));
  }
  word.tenant = text;
  return word;
}

std::optional<SoonWord> receive_soon(int socket, int* pid) {
  char text[longest_word + 1];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  iovec part{text, sizeof text};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const auto got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  *pid = 0;
  if (got < 0) return std::nullopt;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(head), sizeof sender);
    *pid = sender.pid;
  }
  return (message.msg_flags & MSG_TRUNC) ? std::nullopt : parse_soon({text, static_cast<std::size_t>(got)});
}

}  // namespace lull

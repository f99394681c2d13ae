#include "broker/runtime_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "protocol/socket.h"

namespace lull {
namespace {

using Problem = std::optional<std::string>;

Problem failure(const char* what, const std::string& path, int code = errno) {
  const char* hint = code == EACCES || code == EPERM ? "; run as root, or choose a directory with --runtime-dir" : "";
  return fmt::format("cannot {} {}: {}{}", what, path, std::strerror(code), hint);
}

struct Access {
  std::optional<gid_t> group;  // lull, if this process may give it away
  mode_t closed_dir() const { return group ? 0750 : 0700; }
  mode_t control() const { return group ? 0660 : 0600; }
};

Access find_access(std::vector<std::string>& notes) {
  if (::geteuid() != 0) {
    notes.emplace_back(
        "not root: only this user reaches the classes interactive and inference, and the control socket");
    return {};
  }
  const group* lull = ::getgrnam("lull");
  if (!lull) {
    notes.emplace_back(
        "no group \"lull\": only root reaches the classes interactive and inference, and the control socket "
        "(groupadd --system lull, then restart lulld)");
    return {};
  }
  return {lull->gr_gid};
}

Problem make_dir(const std::string& path, mode_t mode, std::optional<gid_t> group = {}) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return failure("create directory", path);
  const Fd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!dir) return failure("open directory", path);
  if (group && ::fchown(dir.get(), 0, *group) != 0) return failure("change group of", path);
  if (::fchmod(dir.get(), mode) != 0) return failure("change mode of", path);
  return std::nullopt;
}

// Written beside and renamed: a program that starts at this moment reads the old file or the new one.
Problem write_file(const std::string& path, const std::string& text) {
  const auto beside = path + ".new";
  const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) return failure("create", beside);
  if (::fchmod(file.get(), 0644) != 0) return failure("change mode of", beside);
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return failure("write", beside);
  if (::rename(beside.c_str(), path.c_str()) != 0) return failure("rename to", path);
  return std::nullopt;
}

std::string cards_text(const std::vector<PromisedCard>& cards) {
  std::string text;
  for (const auto& card : cards) text += fmt::format("{} {} {}\n", show_uuid(card.uuid), card.total, card.chunk);
  return text;
}

Problem open_soon(RuntimeDir& run, Class klass, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return failure("listen at", path, ENAMETOOLONG);
  std::strcpy(address.sun_path, path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return failure("make a socket for", path);
  (void)::unlink(path.c_str());  // a dead broker's
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failure("listen at", path);
  if (::chmod(path.c_str(), 0666) != 0) return failure("change mode of", path);
  run.soon.push_back({klass, std::move(socket)});
  return std::nullopt;
}

Problem open_class(RuntimeDir& run, Class klass, const Access& access, const std::vector<PromisedCard>& cards) {
  const auto outer = run.path + "/" + name_of(klass), inner = outer + "/socket";
  const bool open_to_all = klass == Class::training;
  if (auto p = make_dir(outer, open_to_all ? 0755 : access.closed_dir(), open_to_all ? std::nullopt : access.group))
    return p;
  if (auto p = make_dir(inner, 0755)) return p;
  if (auto p = write_file(inner + "/class", std::string(name_of(klass)) + "\n")) return p;
  if (auto p = write_file(inner + "/gpus", cards_text(cards))) return p;
  const auto path = socket_path(run.path, klass);
  auto listener = listen_at(path.c_str(), 0666);
  if (!listener) return failure("listen at", path, listener.error().code);
  run.classes[static_cast<std::size_t>(klass)] = {klass, std::move(*listener)};
  return klass == Class::training ? std::nullopt : open_soon(run, klass, inner + "/soon");
}

Problem open_control(RuntimeDir& run, const Access& access) {
  const auto path = run.path + "/control";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return failure("listen at", path, ENAMETOOLONG);
  std::strcpy(address.sun_path, path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return failure("make a socket for", path);
  (void)::unlink(path.c_str());  // a dead broker's: the lock says that there is no live one. bind reports the rest
  // Nobody may connect between bind and the change of owner and mode: a socket takes no connection before listen.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failure("listen at", path);
  if (access.group && ::chown(path.c_str(), 0, *access.group) != 0) return failure("change group of", path);
  if (::chmod(path.c_str(), access.control()) != 0) return failure("change mode of", path);
  if (::listen(socket.get(), 16) != 0) return failure("listen at", path);
  run.control = std::move(socket);
  return std::nullopt;
}

Problem open_all(RuntimeDir& run, const std::vector<PromisedCard>& cards) {
  if (auto p = make_dir(run.path, 0755)) return p;
  run.lock = Fd(::open(run.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!run.lock) return failure("open", run.path);
  if (::flock(run.lock.get(), LOCK_EX | LOCK_NB) != 0)
    return errno == EWOULDBLOCK ? fmt::format(
                                      "another lulld is running in {} (systemctl status lulld); stop it, or choose "
                                      "another directory with --runtime-dir",
                                      run.path)
                                : failure("lock", run.path);
  const auto access = find_access(run.notes);
  for (const Class klass : all_classes)
    if (auto p = open_class(run, klass, access, cards)) return p;
  return open_control(run, access);
}

}  // namespace

std::string socket_path(const std::string& runtime_dir, Class klass) {
  return runtime_dir + "/" + name_of(klass) + "/socket/broker";
}

RuntimeDirResult open_runtime_dir(const std::string& path, const std::vector<PromisedCard>& cards) {
  RuntimeDir run;
  run.path = path;
  while (run.path.size() > 1 && run.path.back() == '/') run.path.pop_back();
  if (auto problem = open_all(run, cards)) return RuntimeDirProblem{*problem};
  return run;
}

}  // namespace lull

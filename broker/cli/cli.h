// broker/cli/cli.h: what the commands of lull share. Exit codes are a promise to scripts.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "protocol/fd.h"
#include "protocol/result.h"

namespace lull::cli {

enum Exit : int { ok = 0, failure = 1, usage = 2, no_broker = 3, cannot_execute = 126, not_found = 127 };

std::string default_runtime_dir();  // LULL_RUNTIME_DIR, else /run/lull

// Says what failed and what to do about it, on standard error.
int complain(Exit, const std::string& what);

// The broker's control socket: one line out, lines in.
class Connection {
 public:
  // Complains and returns nothing's descriptor if there is no broker; `code` is then the exit status.
  static Connection open(const std::string& runtime_dir, int& code);
  static Connection try_open(const std::string& runtime_dir, std::string& why_not);  // says nothing itself
  bool send(const std::string& line);
  bool receive(std::string& line);  // false: the broker has hung up
  explicit operator bool() const { return static_cast<bool>(socket_); }

 private:
  Fd socket_;
  std::string buffer_;
};

struct Status {
  std::string runtime_dir;
  bool json = false;
};
int status(const Status&);

struct Events {
  std::string runtime_dir;
  bool json = false, follow = false;
};
int events(const Events&);

struct Why {
  std::string runtime_dir, whom;
};
int why(const Why&);

struct Wake {
  std::string runtime_dir, whom, lasts = "30s";
};
int wake(const Wake&);

struct Doctor {
  std::string runtime_dir;
  bool json = false;
};
int doctor(const Doctor&);

struct Run {
  std::string runtime_dir, klass, tenant;
  std::vector<std::string> command;
};
int run(const Run&);  // returns only when it fails

}  // namespace lull::cli

// broker/cli/cli.h: what the commands of lull share. Exit codes are a promise to scripts.
//
// A command is one file and one row of commands.def. Its file has a function that says which arguments it takes and
// answers with what is to be done once they are read:
//
//   Action set_up_wake(Arguments& arguments, const Context& context) {
//     auto options = std::make_shared<Options>();
//     arguments.operand("service", Takes::tenant, options->whom, "a tenant's name, or a process");
//     return [options, &context] { return wake(context, *options); };
//   }
#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "protocol/fd.h"
#include "protocol/result.h"

namespace lull::cli {

enum Exit : int { ok = 0, failure = 1, usage = 2, no_broker = 3, not_there = 4, cannot_execute = 126, not_found = 127 };

struct ExitMeaning {
  Exit code;
  const char* meaning;
};
inline constexpr ExitMeaning exit_meanings[] = {
    {ok, "done"},
    {failure, "failed; the sentence on standard error says why, and what to do"},
    {usage, "wrong use"},
    {no_broker, "lulld cannot be reached"},
    {not_there, "nothing has that name"},
    {cannot_execute, "lull run: the program could not be started"},
    {not_found, "lull run: there is no such program"},
};

struct Context {
  std::string runtime_dir;
};

class Arguments;
using Action = std::function<int()>;  // its answer is the exit status

std::string default_runtime_dir();  // LULL_RUNTIME_DIR, else /run/lull

// Says what failed and what to do about it, on standard error.
int complain(Exit, const std::string& what);

// The broker's control socket: one line out, lines in.
class Connection {
 public:
  Connection() = default;
  // Complains and returns nothing's descriptor if there is no broker; `code` is then the exit status.
  static Connection open(const std::string& runtime_dir, int& code);
  static Connection try_open(const std::string& runtime_dir, std::string& why_not);  // says nothing itself
  bool send(const std::string& line);
  bool receive(std::string& line);                // false: the broker has hung up
  bool receive_ready(std::string& line);          // only what has come already
  void give_up_after(std::chrono::milliseconds);  // receive() is then false
  void wait_for_text(std::chrono::milliseconds);  // something to receive, or not
  int descriptor() const { return socket_.get(); }
  explicit operator bool() const { return static_cast<bool>(socket_); }

 private:
  bool take_line(std::string& line);
  bool read_more(int flags);

  Fd socket_;
  std::string buffer_;
};

}  // namespace lull::cli

// broker/cli/metrics.cpp: lull metrics: for Prometheus, by whoever asks or as a file for node_exporter. The broker
// itself, being root, serves none.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/metrics_text.h"
#include "broker/cli/show.h"
#include "protocol/fd.h"

namespace lull::cli {
namespace {

bool write_all(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const auto wrote = ::write(fd, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    done += static_cast<std::size_t>(wrote);
  }
  return true;
}

// Whoever reads the file sees the old or the new one, whole. 0, or the errno.
int replace(const std::string& path, const std::string& text) {
  const auto fresh = fmt::format("{}.{}", path, ::getpid());  // not *.prom: node_exporter leaves it alone
  Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) return errno;
  // Readable to node_exporter whatever this user's umask; on disk before it gets its name.
  const bool good = ::fchmod(file.get(), 0644) == 0 && write_all(file.get(), text) && ::fsync(file.get()) == 0;
  if (good && ::rename(fresh.c_str(), path.c_str()) == 0) return 0;
  const int why = errno;
  (void)::unlink(fresh.c_str());
  return why;
}

int publish(const std::string& textfile, const std::string& text, int code) {
  if (textfile.empty()) return std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0 ? failure : code;
  if (const int why = replace(textfile, text))
    return complain(failure, fmt::format("cannot write {}: {}; is its directory there, and yours to write in?",
                                         textfile, std::strerror(why)));
  return code;
}

int metrics(const Context& context, const std::string& textfile) {
  int code = ok;
  auto broker = Connection::open(context.runtime_dir, code);
  if (!broker) return code == no_broker ? publish(textfile, metrics_without_broker(), code) : code;
  std::string line;
  if (!broker.send("{\"cmd\":\"status\"}") || !broker.receive(line)) {
    code = complain(no_broker, "lulld has hung up");
    return publish(textfile, metrics_without_broker(), code);
  }
  const auto status = object_in(line, code);
  return status.is_null() ? code : publish(textfile, metrics_text(status), ok);
}

}  // namespace

Action set_up_metrics(Arguments& arguments, const Context& context) {
  auto textfile = std::make_shared<std::string>();
  arguments.option("--textfile", Takes::file, *textfile, "replace this file (NAME.prom, for node_exporter), whole");
  arguments.about("When lulld does not answer, lull_up 0 is all that is told, and the exit status is 3.");
  return [textfile, &context] { return metrics(context, *textfile); };
}

}  // namespace lull::cli

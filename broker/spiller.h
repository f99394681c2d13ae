// broker/spiller.h: a thread of ordinary priority that has arenas copied to files, and back, by helper processes
// (spill_copy.h), one at a time. What somebody waits for goes first, and ends a copy to disk that is under way.
//
// A file is 0600, has no name (O_TMPFILE, or it is unlinked before anything is in it), and holds one arena: it is gone
// with the last descriptor of it, whatever kills whom.
#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "broker/policy.h"
#include "broker/spill_copy.h"
#include "protocol/fd.h"

namespace lull {

struct SpillKey {
  policy::ClientId client = 0;
  std::uint64_t number = 0;
  std::uint32_t turn = 0;
  bool operator==(const SpillKey&) const = default;
};

struct SpillJob {
  enum class Kind : std::uint8_t { punch, fill, save };  // in order of urgency
  Kind kind = Kind::punch;
  SpillKey key;
  Fd memory, file;  // its own; a file that is to be made: none
  policy::Bytes bytes = 0;
  Sum sum;                     // fill: of what must be in the file
  SaveOrder order;             // save
  policy::Bytes reserved = 0;  // save: what was taken from the write budget for it
  std::string record;          // save: of the write budget, to be kept before anything is written; "": no need
};

struct SpillResult {
  SpillJob::Kind kind = SpillJob::Kind::punch;
  SpillKey key;
  bool done = false, cancelled = false;
  std::string why;                    // not
  bool begun = false, known = false;  // save: something may have been written; there was an earlier content
  Saved saved;
  policy::Bytes bytes = 0, reserved = 0;
  Fd file, reader;  // save: the one it is in, and the same for reading only
};

class Spiller {
 public:
  Spiller(std::string directory, std::string record_path);
  ~Spiller();  // ends a helper, too
  void add(SpillJob);
  void cancel(const SpillKey&);  // of a save; there will be a result
  int fd() const { return finished_.get(); }
  std::vector<SpillResult> take();
  bool direct() const;  // the file system takes O_DIRECT

 private:
  std::optional<SpillJob> next();
  void run();
  void end_saving();         // under the lock
  void finish(SpillResult);  // likewise
  SpillResult work(SpillJob&);
  SpillResult save(SpillJob&, SpillResult);
  Fd make_file(policy::Bytes, std::string* why);
  // What a helper says; nothing: it was ended, or has failed with `why`.
  std::optional<std::string> help(const std::vector<std::string>& arguments, const SpillJob&, int file, SpillResult&);
  bool stopping() const;

  const std::string directory_, record_path_;
  Fd finished_;
  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::deque<SpillJob> jobs_;
  std::vector<SpillResult> results_;
  std::optional<SpillKey> saving_;
  bool stop_ = false, cancelled_ = false, direct_ = true;
  pid_t child_ = 0;
  std::thread thread_;
};

// Why a directory is not fit for it; nothing: it is. Files that an earlier broker could not unlink are removed.
std::optional<std::string> check_spill_directory(const std::string&);

}  // namespace lull

#include "broker/spiller.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "broker/helper.h"
#include "broker/write_budget.h"

namespace lull {
namespace {

using Kind = SpillJob::Kind;
constexpr const char* name_prefix = "lull-spill-";

std::string error_text(const char* what) { return fmt::format("{}: {}", what, std::strerror(errno)); }

// With a name for a moment, where the file system cannot do without.
int open_named(const std::string& directory, int flags) {
  auto path = directory + "/" + name_prefix + "XXXXXX";
  const int fd = ::mkostemp(path.data(), flags | O_CLOEXEC);  // 0600
  if (fd >= 0) (void)::unlink(path.c_str());                  // if not: removed at the next start
  return fd;
}

int open_unnamed(const std::string& directory, int flags) {
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
  if (fd >= 0 || errno == ENOSPC || errno == EACCES) return fd;
  return open_named(directory, flags);
}

Fd for_reading(int file) { return Fd(::open(fmt::format("/proc/self/fd/{}", file).c_str(), O_RDONLY | O_CLOEXEC)); }

}  // namespace

std::optional<std::string> check_spill_directory(const std::string& path) {
  struct stat s;
  if (::lstat(path.c_str(), &s) != 0) return error_text(path.c_str());
  if (!S_ISDIR(s.st_mode)) return path + " is no directory";
  if (s.st_uid != ::geteuid()) return fmt::format("{} must belong to uid {}", path, ::geteuid());
  if (s.st_mode & 022) return path + " must not be writable for others";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error))
    if (entry.path().filename().string().starts_with(name_prefix)) (void)::unlink(entry.path().c_str());
  return std::nullopt;
}

Spiller::Spiller(std::string directory, std::string record_path)
    : directory_(std::move(directory)),
      record_path_(std::move(record_path)),
      finished_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  thread_ = std::thread([this] { run(); });
  (void)::pthread_setname_np(thread_.native_handle(), "lulld-spill");  // for ps only
}

Spiller::~Spiller() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
    if (child_ > 0) (void)::kill(child_, SIGKILL);  // not reaped before child_ is cleared
  }
  added_.notify_one();
  thread_.join();
}

void Spiller::add(SpillJob job) {
  {
    const std::lock_guard guard(mutex_);
    const auto later = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& j) { return j.kind > job.kind; });
    if (job.kind == Kind::fill && saving_) end_saving();
    jobs_.insert(later, std::move(job));
  }
  added_.notify_one();
}

void Spiller::cancel(const SpillKey& key) {
  const std::lock_guard guard(mutex_);
  if (saving_ == key) return end_saving();
  const auto at =
      std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& j) { return j.kind == Kind::save && j.key == key; });
  if (at == jobs_.end()) return;
  SpillResult result;
  result.kind = Kind::save;
  result.key = key;
  result.cancelled = true;
  result.bytes = at->bytes;
  result.reserved = at->reserved;
  result.file = std::move(at->file);
  finish(std::move(result));
  jobs_.erase(at);
}

void Spiller::end_saving() {
  cancelled_ = true;
  if (child_ > 0) (void)::kill(child_, SIGKILL);
}

void Spiller::finish(SpillResult result) {
  results_.push_back(std::move(result));
  const std::uint64_t one = 1;
  (void)!::write(finished_.get(), &one, sizeof one);  // a full counter is readable too
}

std::vector<SpillResult> Spiller::take() {
  std::uint64_t count = 0;
  (void)!::read(finished_.get(), &count, sizeof count);
  const std::lock_guard guard(mutex_);
  return std::exchange(results_, {});
}

bool Spiller::direct() const {
  const std::lock_guard guard(mutex_);
  return direct_;
}

bool Spiller::stopping() const {
  const std::lock_guard guard(mutex_);
  return stop_;
}

std::optional<SpillJob> Spiller::next() {
  std::unique_lock lock(mutex_);
  added_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
  if (stop_) return std::nullopt;
  auto job = std::move(jobs_.front());
  jobs_.pop_front();
  cancelled_ = false;
  if (job.kind == Kind::save) saving_ = job.key;
  return job;
}

void Spiller::run() {
  while (auto job = next()) {
    auto result = work(*job);
    const std::lock_guard guard(mutex_);
    saving_.reset();
    result.cancelled = cancelled_ && !result.done;
    finish(std::move(result));
  }
}

SpillResult Spiller::work(SpillJob& job) {
  SpillResult result;
  result.kind = job.kind;
  result.key = job.key;
  result.bytes = job.bytes;
  result.reserved = job.reserved;
  result.known = job.order.known;
  switch (job.kind) {
    case Kind::punch: {
      const auto hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      result.done = ::fallocate(job.memory.get(), hole, 0, static_cast<off_t>(job.bytes)) == 0;
      if (!result.done) result.why = error_text("fallocate");
      return result;
    }
    case Kind::fill: {
      const auto hex = [](std::uint64_t n) { return fmt::format("{:x}", n); };
      const std::vector<std::string> arguments{"lulld", "--spill-fill", std::to_string(job.bytes), hex(job.sum.low),
                                               hex(job.sum.high)};
      result.done = help(arguments, job, job.file.get(), result).has_value();
      return result;
    }
    case Kind::save: return save(job, std::move(result));
  }
  return result;
}

SpillResult Spiller::save(SpillJob& job, SpillResult result) {
  if (!job.record.empty() && !write_record(record_path_, job.record)) {
    result.why = error_text(record_path_.c_str());
    return result;
  }
  if (!job.file) job.file = make_file(job.bytes, &result.why);
  if (!job.file) return result;
  result.begun = true;
  const std::vector<std::string> arguments{"lulld", "--spill-save", std::to_string(job.bytes),
                                           job.order.known ? "1" : "0", std::to_string(job.order.most_rewritten)};
  const auto answer = help(arguments, job, job.file.get(), result);
  if (!answer) return result.file = std::move(job.file), std::move(result);
  const auto saved = parse_saved(*answer);
  result.reader = for_reading(job.file.get());
  result.done = saved && result.reader;
  if (!result.done) result.why = saved ? error_text("/proc/self/fd") : "the helper's answer makes no sense";
  if (saved) result.saved = *saved;
  result.file = std::move(job.file);
  return result;
}

// With room for all of it: what is too little is known before anything is written.
Fd Spiller::make_file(policy::Bytes bytes, std::string* why) {
  Fd file(open_unnamed(directory_, direct() ? O_DIRECT : 0));
  if (!file && errno == EINVAL && direct()) {
    {
      const std::lock_guard guard(mutex_);
      direct_ = false;
    }
    file = Fd(open_unnamed(directory_, 0));
  }
  if (!file) return *why = error_text(directory_.c_str()), Fd();
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)))
    return *why = fmt::format("{}: {}", directory_, std::strerror(error)), Fd();
  return file;
}

std::optional<std::string> Spiller::help(const std::vector<std::string>& arguments, const SpillJob& job, int file,
                                         SpillResult& result) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return result.why = error_text("pipe"), std::nullopt;
  const Fd ours(ends[0]);
  Fd theirs(ends[1]);
  {
    const std::lock_guard guard(mutex_);
    const int fds[] = {job.memory.get(), file, theirs.get()};  // spill_memory, spill_file, spill_answer
    if (!stop_ && !cancelled_) child_ = start_helper(arguments, fds);
  }
  const pid_t pid = child_;
  if (pid == 0) return result.why = "the helper could not be started", std::nullopt;
  theirs.reset();
  while (!await_end(pid, policy::second))
    if (stopping()) return result.why = "the broker ends", std::nullopt;  // one that does not die does not keep us
  char text[512];
  const auto got = ::read(ours.get(), text, sizeof text);  // it has ended: what it said is there, and is little
  const std::lock_guard guard(mutex_);
  child_ = 0;
  const bool well = reap_helper(pid);
  std::string said(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  if (well) return said;
  result.why = said.empty() ? "the helper was killed" : one_line(said);
  return std::nullopt;
}

}  // namespace lull

#include "broker/oom.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <sstream>

#include "protocol/fd.h"

namespace lull {
namespace {

using policy::Bytes;

constexpr int least = -1000, most = 1000;  // OOM_SCORE_ADJ_MIN and _MAX

// One process's files. They all belong to the process that was there when it was opened.
class Proc {
 public:
  explicit Proc(int pid)
      : directory_(::open(fmt::format("/proc/{}", pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}

  std::optional<std::uint64_t> started() const {
    const auto text = read("stat");
    const auto name_ends = text.rfind(')');  // a program may have any name
    if (name_ends == std::string::npos) return std::nullopt;
    std::istringstream fields(text.substr(name_ends + 1));
    std::string skipped;
    for (int i = 3; i < 22; ++i) fields >> skipped;
    std::uint64_t value = 0;
    return fields >> value ? std::optional(value) : std::nullopt;
  }
  Bytes shared_memory() const {
    const auto text = read("status");
    const std::string_view name = "\nRssShmem:";
    const auto at = text.find(name);
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + name.size(), nullptr, 10) << 10;
  }
  std::optional<int> score() const {
    const auto text = read("oom_score_adj");
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} ? std::optional(value) : std::nullopt;
  }
  bool set_score(int value) const {
    const Fd file(::openat(directory_.get(), "oom_score_adj", O_WRONLY | O_CLOEXEC));
    const auto text = std::to_string(value);
    return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

 private:
  std::string read(const char* name) const {
    const Fd file(::openat(directory_.get(), name, O_RDONLY | O_CLOEXEC));
    std::string text(8192, 0);
    const auto got = file ? ::read(file.get(), text.data(), text.size()) : -1;
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  Fd directory_;
};

}  // namespace

int oom_share(Bytes mapped, Bytes machine) {
  if (machine == 0) return 0;
  return static_cast<int>(static_cast<long double>(std::min(mapped, machine)) * 1000 /
                          static_cast<long double>(machine));
}

OomScore adjusted(std::optional<OomScore> before, std::uint64_t started, int now, int share) {
  const bool ours = before && before->started == started && before->written == now;
  const int base = ours ? before->base : now;
  return {started, base, base == least ? least : std::max(least + 1, base - share)};
}

std::string show_scores(const OomScores& scores) {
  std::string text;
  for (const auto& [pid, s] : scores) text += fmt::format("{} {} {} {}\n", pid, s.started, s.base, s.written);
  return text;
}

std::vector<std::pair<int, OomScore>> parse_scores(std::string_view untrusted) {
  std::vector<std::pair<int, OomScore>> scores;
  std::istringstream lines{std::string(untrusted)};
  for (std::string line; std::getline(lines, line) && scores.size() < 4096;) {
    std::istringstream fields(line);
    int pid = 0;
    OomScore s;
    std::string more;
    const auto in_range = [](int value) { return value >= least && value <= most; };
    if (fields >> pid >> s.started >> s.base >> s.written && !(fields >> more) && pid > 1 && in_range(s.base) &&
        in_range(s.written) && s.written <= s.base)
      scores.emplace_back(pid, s);
  }
  return scores;
}

OomKeeper::OomKeeper(std::string path) : path_(std::move(path)) {
  std::string text(1 << 18, 0);
  const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  const auto got = file ? ::read(file.get(), text.data(), text.size()) : -1;
  if (got <= 0) return;
  text.resize(static_cast<std::size_t>(got));
  for (const auto& [pid, score] : parse_scores(text)) restore(pid, score);
  (void)::unlink(path_.c_str());
}

OomKeeper::~OomKeeper() {
  for (const auto& [pid, score] : scores_) restore(pid, score);
  (void)::unlink(path_.c_str());
}

void OomKeeper::restore(int pid, const OomScore& score) {
  const Proc proc(pid);
  if (proc.started() != score.started || proc.score() != score.written) return;  // gone, or somebody else has the word
  if (!proc.set_score(score.base)) error_ = errno;
}

// Nothing: its score is to be as if we were not there.
std::optional<OomScore> OomKeeper::wanted_for(const Mapped& mapped, Bytes machine) const {
  const Proc proc(mapped.pid);
  const auto started = proc.started();
  const auto now = proc.score();
  if (!started || !now) return std::nullopt;
  const auto at = scores_.find(mapped.pid);
  const auto before = at == scores_.end() ? std::nullopt : std::optional(at->second);
  const int share = oom_share(std::min(mapped.backing, proc.shared_memory()), machine);
  const auto wanted = adjusted(before, *started, *now, share);
  const auto refused = refused_.find(mapped.pid);
  if (refused != refused_.end() && refused->second == wanted) return before;
  return wanted.written == wanted.base ? std::nullopt : std::optional(wanted);
}

void OomKeeper::adjust(const std::vector<Mapped>& all, Bytes machine) {
  OomScores next;
  for (const auto& mapped : all)
    if (const auto wanted = wanted_for(mapped, machine)) next[mapped.pid] = *wanted;
  for (const auto& [pid, score] : scores_)
    if (!next.contains(pid)) restore(pid, score);
  if (next == scores_) return;
  const auto before = std::exchange(scores_, next);
  save(before);
  for (const auto& [pid, score] : next) {
    const auto old = before.find(pid);
    if ((old != before.end() && old->second == score) || Proc(pid).set_score(score.written)) continue;
    error_ = errno;  // without the right to it the score stays as it is
    refused_[pid] = score;
    scores_.erase(pid);
    if (old != before.end()) scores_.insert(*old);
  }
  count_ = scores_.size();
}

// Before anything is written, with what stood there: whenever the broker is killed, one of the lines is true.
void OomKeeper::save(const OomScores& before) {
  const auto beside = path_ + ".new";
  const auto text = show_scores(scores_) + show_scores(before);
  const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  const bool written = file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (!written || ::rename(beside.c_str(), path_.c_str()) != 0) error_ = errno;
}

}  // namespace lull

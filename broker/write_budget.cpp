#include "broker/write_budget.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <ctime>

#include "protocol/fd.h"

namespace lull {

using policy::Bytes;

WriteBudget::WriteBudget(const std::optional<std::string>& record, std::uint64_t today) : day_(today) {
  if (!record) return;
  unsigned long long day = 0, used = 0;
  if (std::sscanf(record->c_str(), "%llu %llu", &day, &used) != 2)
    used_ = ~Bytes{0};
  else if (day >= today)  // of a clock that has been put back: its day is not over
    used_ = used;
}

Bytes WriteBudget::left(Bytes daily, std::uint64_t today) const {
  const Bytes gone = used(today);
  return daily > gone ? daily - gone : 0;
}

void WriteBudget::take(Bytes bytes, std::uint64_t today) {
  if (today != day_) {
    day_ = today;
    used_ = 0;
  }
  used_ = bytes > ~used_ ? ~Bytes{0} : used_ + bytes;
}

void WriteBudget::give_back(Bytes bytes) { used_ -= bytes < used_ ? bytes : used_; }

std::string WriteBudget::record() const { return fmt::format("{} {}\n", day_, used_); }

std::uint64_t today() { return static_cast<std::uint64_t>(::time(nullptr)) / 86400; }

std::optional<std::string> read_record(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return errno == ENOENT ? std::nullopt : std::optional(std::string());
  char text[64];
  const auto got = ::read(file.get(), text, sizeof text);
  return std::string(text, got > 0 ? static_cast<std::size_t>(got) : 0);
}

bool write_record(const std::string& path, const std::string& record) {
  const auto beside = path + ".new";
  const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  return file && ::write(file.get(), record.data(), record.size()) == static_cast<ssize_t>(record.size()) &&
         ::fdatasync(file.get()) == 0 && ::rename(beside.c_str(), path.c_str()) == 0;
}

}  // namespace lull

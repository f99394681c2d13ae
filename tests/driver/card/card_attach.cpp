// Making, opening and joining a card's file.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "tests/driver/card/card_file.h"

namespace lull::sim {
namespace {

std::uint64_t head_bytes(std::uint32_t granules) {
  const std::uint64_t raw = sizeof(CardFile) + granules * sizeof(std::uint16_t);
  return (raw + granule_bytes - 1) / granule_bytes * granule_bytes;
}

bool valid(const CardFile& file, std::uint64_t size) {
  return file.magic == card_magic && file.layout == layout_of_card() && file.granules > 0 &&
         file.bytes == std::uint64_t{file.granules} * granule_bytes && file.memory_at == head_bytes(file.granules) &&
         size == file.memory_at + file.bytes;
}

bool in_use(const CardFile& file) {
  for (const Slot& slot : file.slots) {
    if (slot.pid != 0 && alive(slot)) return true;
  }
  return false;
}

// Of a new file, so all of it is zero.
void set_up(CardFile& file, std::uint32_t granules) {
  file.bytes = std::uint64_t{granules} * granule_bytes;
  file.granules = granules;
  file.memory_at = head_bytes(granules);
  (void)!::getrandom(file.uuid.data(), file.uuid.size(), 0);
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&file.mutex, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  file.layout = layout_of_card();
  file.magic = card_magic;
}

// Every page of the memory is touched here, once for all processes: later no kernel page is zeroed while a test times.
bool create(int fd, std::uint64_t bytes, std::string& problem) {
  const auto granules = static_cast<std::uint32_t>(bytes / granule_bytes);
  const std::uint64_t size = head_bytes(granules) + std::uint64_t{granules} * granule_bytes;
  // Allocating first turns a full file system into an answer instead of a SIGBUS.
  const bool sized = ::ftruncate(fd, static_cast<off_t>(size)) == 0;
  const int error = sized ? ::posix_fallocate(fd, 0, static_cast<off_t>(size)) : errno;
  if (error != 0) {
    problem = std::string("no room for it: ") + std::strerror(error);
    return false;
  }
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    problem = std::string("cannot map it: ") + std::strerror(errno);
    return false;
  }
  (void)::madvise(at, size, MADV_POPULATE_WRITE);  // an old kernel touches pages when they are first used
  set_up(*static_cast<CardFile*>(at), granules);
  (void)::munmap(at, size);
  return true;
}

enum class Found { nothing, card, old_card, stranger };

// What is at a path. A card that is not of the size asked for counts as old, unless somebody uses it.
Found look_at(int fd, std::uint64_t bytes) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Found::stranger;
  if (status.st_size == 0) return Found::nothing;
  std::uint64_t magic = 0;
  if (::pread(fd, &magic, sizeof magic, 0) != sizeof magic || (magic << 8 != card_magic << 8 && magic != 0))
    return Found::stranger;
  if (static_cast<std::uint64_t>(status.st_size) < sizeof(CardFile)) return Found::old_card;
  void* at = ::mmap(nullptr, sizeof(CardFile), PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return Found::stranger;
  const auto& file = *static_cast<const CardFile*>(at);
  const bool good = valid(file, static_cast<std::uint64_t>(status.st_size)) &&
                    (file.bytes == bytes / granule_bytes * granule_bytes || in_use(file));
  (void)::munmap(at, sizeof(CardFile));
  return good ? Found::card : Found::old_card;
}

}  // namespace

std::uint64_t start_time_of(int pid) {
  char path[48], text[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t n = ::read(fd, text, sizeof text - 1);
  (void)::close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  const char* after_name = std::strrchr(text, ')');
  char state = 0;
  long long threads = 0, start = 0;
  // Fields 3 (state), 20 (threads) and 22 (start time) of proc(5).
  if (!after_name ||
      std::sscanf(after_name + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld %*s %lld",
                  &state, &threads, &start) != 3) {
    return 0;
  }
  // A leader that has ended while other threads go on is a zombie too.
  const bool dead = state == 'X' || (state == 'Z' && threads <= 1);
  return dead ? 0 : static_cast<std::uint64_t>(start);
}

bool alive(const Slot& slot) { return slot.pid != 0 && start_time_of(slot.pid) == slot.start_time; }

bool Card::map(int fd, std::string& problem) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return false;
  void* at = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    problem = std::string("cannot map it: ") + std::strerror(errno);
    return false;
  }
  file_ = static_cast<CardFile*>(at);
  device_ = status.st_dev;
  inode_ = status.st_ino;
  memory_ = static_cast<std::byte*>(at) + file_->memory_at;
  return true;
}

bool Card::enter(const std::string& path, int fd, std::uint64_t bytes, Role role, std::string& problem) {
  switch (look_at(fd, bytes)) {
    case Found::card: break;
    case Found::nothing:
      if (create(fd, bytes, problem)) break;
      (void)::unlink(path.c_str());
      return false;
    case Found::old_card:
      // Whoever still has the old file mapped keeps it whole; the caller opens the new one.
      if (::unlink(path.c_str()) != 0) problem = std::string("cannot replace it: ") + std::strerror(errno);
      return false;
    case Found::stranger:
      problem = "there is another file of that name; remove it, or let LULL_SIM_POOL name another";
      return false;
  }
  if (!map(fd, problem)) return false;
  if (role == Role::user && !take_slot()) problem = "all its 256 places for processes are taken";
  return problem.empty();
}

std::unique_ptr<Card> Card::attach(const std::string& path, std::uint64_t bytes, Role role, std::string& problem) {
  std::unique_ptr<Card> card(new Card);
  card->path_ = std::filesystem::absolute(path).string();
  std::string why;
  for (int attempt = 0; attempt < 100 && why.empty(); ++attempt) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
      why = std::string("cannot open it: ") + std::strerror(errno);
      break;
    }
    // The lock lasts until this process has its slot, so that nobody takes the card for unused meanwhile.
    while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) {
    }
    struct stat mine {
    }, now{};
    const bool current = ::fstat(fd, &mine) == 0 && ::stat(path.c_str(), &now) == 0 && mine.st_ino == now.st_ino;
    const bool entered = current && card->enter(path, fd, bytes, role, why);
    (void)::flock(fd, LOCK_UN);  // closing is not enough: the mapping keeps the open file
    (void)::close(fd);
    if (entered) return card;
  }
  problem = "simulated card " + path + ": " + (why.empty() ? "it changes all the time" : why);
  return nullptr;
}

}  // namespace lull::sim

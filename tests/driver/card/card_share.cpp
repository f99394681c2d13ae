// Memory that several processes may hold.
//
// Its granules belong to a share instead of a process; the share has a bit for each process that holds it, and memory
// returns to the card with the last bit: a process takes its own back, those of the dead are taken back for them.
// A descriptor refers to a share, too, wherever it is: in any process, or on its way through a socket. It is the card's
// file, opened once more, and this open file holds a read lock on a byte far behind the file's end, the share's byte,
// until the last copy of the descriptor is closed. Who wants to know whether there still is one tests the lock.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tests/driver/card/card_file.h"

namespace lull::sim {
namespace {

constexpr off_t first_lock = off_t{1} << 40;  // behind every card's end

struct flock lock_of(std::uint32_t index, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = first_lock + static_cast<off_t>(index);
  lock.l_len = 1;
  return lock;
}

void set_holder(Share& share, std::size_t slot) { share.holders[slot / 64] |= std::uint64_t{1} << slot % 64; }
void clear_holder(Share& share, std::size_t slot) { share.holders[slot / 64] &= ~(std::uint64_t{1} << slot % 64); }
bool held(const Share& share) {
  return std::ranges::any_of(share.holders, [](std::uint64_t word) { return word != 0; });
}

void free_share(CardFile& file, std::uint32_t index) {
  const auto owner = static_cast<std::uint16_t>(shared_owner | index);
  std::replace(file.owners(), file.owners() + file.granules, owner, std::uint16_t{0});
  file.shares[index] = {};
}

}  // namespace

int first_holder(const Share& share) {
  for (std::size_t slot = 0; slot < card_slots; ++slot) {
    if (share.holders[slot / 64] >> slot % 64 & 1) return static_cast<int>(slot);
  }
  return -1;
}

// Locked. The card's file once more; -1 if it is not there by its name any longer.
int Card::open_again() const {
  const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  struct stat status {};
  if (fd >= 0 && ::fstat(fd, &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) return fd;
  if (fd >= 0) (void)::close(fd);
  return -1;
}

bool Card::has_descriptor(std::uint32_t index) const {
  const int fd = open_again();
  if (fd < 0) return false;  // nobody can import what nobody can open
  struct flock lock = lock_of(index, F_WRLCK);
  const bool locked = ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  (void)::close(fd);
  return locked;
}

void Card::drop_holder(std::size_t slot) {
  for (Share& share : file_->used_shares()) {
    if (share.serial) clear_holder(share, slot);
  }
}

void Card::free_unheld_shares() {
  for (std::uint32_t i = 0; i < file_->share_end; ++i) {
    const Share& share = file_->shares[i];
    if (share.serial && !held(share) && !has_descriptor(i)) free_share(*file_, i);
  }
}

std::optional<ShareId> Card::share(std::span<const Extent> extents, const ShareNote& note) {
  const Locked locked(*file_);
  give_back_the_dead();
  const auto unused = std::ranges::find(file_->shares, 0u, &Share::serial);
  if (unused == file_->shares.end()) return {};
  const auto index = static_cast<std::uint32_t>(unused - file_->shares.begin());
  file_->share_end = std::max(file_->share_end, index + 1);
  Share& share = *unused;
  share = {};  // whoever died here before its share had a serial left something
  share.note = note;
  set_holder(share, slot_);
  share.serial = ++file_->last_share;  // from here on a count after a death finds it
  for (const Extent& extent : extents) {
    std::fill_n(file_->owners() + extent.first, extent.count, static_cast<std::uint16_t>(shared_owner | index));
    share.granules += extent.count;
    file_->slots[slot_].granules -= extent.count;
  }
  return ShareId{index, share.serial};
}

bool Card::hold(const ShareId& id, std::vector<Extent>& out, ShareNote& note) {
  if (id.index >= card_shares || id.serial == 0) return false;
  out.clear();
  out.reserve(file_->granules);  // an exception must not meet the mutex
  const Locked locked(*file_);
  Share& share = file_->shares[id.index];
  if (share.serial != id.serial) return false;
  set_holder(share, slot_);
  note = share.note;
  // Memory is handed out in rising order, so this is the order of its bytes.
  for (std::uint32_t i = 0; i < file_->granules; ++i) {
    if (file_->owners()[i] != (shared_owner | id.index)) continue;
    if (!out.empty() && out.back().first + out.back().count == i)
      ++out.back().count;
    else
      out.push_back({i, 1});
  }
  return true;
}

void Card::drop(const ShareId& id) {
  const Locked locked(*file_);
  Share& share = file_->shares[id.index];
  if (share.serial != id.serial) return;
  clear_holder(share, slot_);
  if (!held(share) && !has_descriptor(id.index)) free_share(*file_, id.index);
}

int Card::descriptor_of(const ShareId& id) {
  const Locked locked(*file_);
  if (file_->shares[id.index].serial != id.serial) return -1;
  const int fd = open_again();
  if (fd < 0) return -1;
  struct flock lock = lock_of(id.index, F_RDLCK);
  // The offset belongs to the open file as the lock does: it tells the importer which share this is.
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0 && ::lseek(fd, lock.l_start, SEEK_SET) == lock.l_start) return fd;
  (void)::close(fd);
  return -1;
}

std::optional<ShareId> Card::share_of_descriptor(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || status.st_dev != device_ || status.st_ino != inode_) return {};
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  if (at < first_lock || at >= first_lock + static_cast<off_t>(card_shares)) return {};
  const auto index = static_cast<std::uint32_t>(at - first_lock);
  const Locked locked(*file_);
  const std::uint64_t serial = file_->shares[index].serial;
  if (serial == 0) return {};
  return ShareId{index, serial};
}

}  // namespace lull::sim

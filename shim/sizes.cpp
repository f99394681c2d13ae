#include "shim/sizes.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "protocol/page.h"
#include "shim/environment.h"
#include "shim/ledger.h"
#include "shim/uuid.h"

namespace lull::sizes {
namespace {

struct Promise {
  std::atomic<std::uint64_t> total{0}, chunk{0};  // 0: not known yet
};
Promise promises[max_gpus];

// min(128 MiB, card/64), whole granules.
std::uint64_t usual_chunk(std::uint64_t total) {
  const std::uint64_t share = total / 64 / ledger::granule * ledger::granule;
  const std::uint64_t most = 128ull << 20;
  return share < ledger::granule ? ledger::granule : share > most ? most : share;
}

// Looks the card up in the file's text. False: the file does not name it, or not in whole numbers that make sense.
bool find_line(char* text, const char* uuid, std::uint64_t real_total, std::uint64_t& total, std::uint64_t& chunk) {
  char* rest = nullptr;
  for (char* line = ::strtok_r(text, "\n", &rest); line; line = ::strtok_r(nullptr, "\n", &rest)) {
    char name[64];
    unsigned long long first = 0, second = 0;
    if (std::sscanf(line, "%63s %llu %llu", name, &first, &second) != 3 || std::strcmp(name, uuid) != 0) continue;
    total = first;
    chunk = second;
    return total > 0 && total <= real_total && chunk >= ledger::granule && chunk % ledger::granule == 0;
  }
  return false;
}

bool read_promise(const char* uuid, std::uint64_t real_total, std::uint64_t& total, std::uint64_t& chunk) {
  const int fd = ::open(environment().sizes_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[4096];
  const auto size = ::read(fd, text, sizeof text - 1);
  (void)::close(fd);
  if (size <= 0) return false;
  text[size] = 0;
  return find_line(text, uuid, real_total, total, chunk);
}

void look_up(unsigned slot) {
  std::size_t real_total = 0;
  (void)real::cuDeviceTotalMem_v2(&real_total, static_cast<CUdevice>(slot));
  std::uint64_t total = real_total, chunk = usual_chunk(real_total);
  char name[48];
  if (uuid_text(slot, name)) {
    std::uint64_t promised_total = 0, promised_chunk = 0;
    if (read_promise(name, real_total, promised_total, promised_chunk)) {
      total = promised_total;
      chunk = promised_chunk;
    }
  }
  std::uint64_t unknown = 0;
  (void)promises[slot].chunk.compare_exchange_strong(unknown, chunk);  // the first answer stands
  unknown = 0;
  (void)promises[slot].total.compare_exchange_strong(unknown, total);
}

}  // namespace

std::uint64_t total(unsigned slot) {
  if (slot >= max_gpus) return 0;
  if (promises[slot].total.load(std::memory_order_acquire) == 0) look_up(slot);
  return promises[slot].total.load(std::memory_order_acquire);
}

std::uint64_t chunk(unsigned slot) {
  (void)total(slot);
  return promises[slot].chunk.load(std::memory_order_acquire);
}

}  // namespace lull::sizes

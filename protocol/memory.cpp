#include "protocol/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace lull {
namespace {

constexpr unsigned huge_2mb = 21u << 26;  // MFD_HUGE_2MB; the machine's usual huge pages may be larger

}  // namespace

Mapping::~Mapping() {
  if (base_) (void)::munmap(base_, bytes_);  // fails only for addresses that are not ours
}

Result<SharedMemory> make_shared_memory(const char* name, std::size_t bytes, Writers writers, Pages pages) {
  SharedMemory memory;
  memory.fd = Fd(
      ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | (pages == Pages::reserved ? MFD_HUGETLB | huge_2mb : 0u)));
  if (!memory.fd) return system_error("memfd_create");
  if (::ftruncate(memory.fd.get(), static_cast<off_t>(bytes)) != 0) return system_error("size shared memory");
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd.get(), 0);
  if (base == MAP_FAILED) return system_error("map shared memory");
  memory.mapping = Mapping(base, bytes);
  int seals = F_SEAL_SHRINK | F_SEAL_GROW;
  if (writers == Writers::creator_only) seals |= F_SEAL_FUTURE_WRITE;  // our own mapping stays writable
  if (::fcntl(memory.fd.get(), F_ADD_SEALS, seals | F_SEAL_SEAL) != 0) return system_error("seal shared memory");
  return memory;
}

Status check_shared_memory(int fd, std::size_t bytes) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return system_error("read seals of shared memory");
  if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
    return Error{"shared memory not sealed"};
  struct stat status;
  if (::fstat(fd, &status) != 0) return system_error("fstat shared memory");
  if (static_cast<std::size_t>(status.st_size) != bytes) return Error{"shared memory of unexpected size"};
  return Done{};
}

}  // namespace lull

// What glibc 2.28 does not have and the shim's sources, or the protocol's, use: hidden definitions of our own.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// glibc has it as a function only since 2.33. The kernel's layout is that of struct stat64 on 64-bit processors.
extern "C" int fstat64(int fd, struct stat64* status) noexcept {
  return static_cast<int>(::syscall(SYS_fstat, fd, status));
}

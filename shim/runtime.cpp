// What glibc 2.28, or musl, does not have and the shim's sources, or the protocol's, use: hidden definitions of our
// own. musl's loader starts no program for which a preloaded library lacks a function.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>

// glibc has it as a function only since 2.33. The kernel's layout is that of struct stat64 on 64-bit processors.
extern "C" int fstat64(int fd, struct stat64* status) noexcept {
  return static_cast<int>(::syscall(SYS_fstat, fd, status));
}

// The name that glibc's headers give to fcntl; musl has none of it. One argument of any kind fits a long.
extern "C" int fcntl64(int fd, int command, ...) {
  std::va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  return static_cast<int>(::syscall(SYS_fcntl, fd, command, argument));
}

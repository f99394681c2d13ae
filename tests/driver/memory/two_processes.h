// Two processes of a case and what passes between them: descriptors, plain values, and a line when something is done.
#pragma once
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/driver/testing/test_support.h"

namespace lull::sim::test {

inline CUmemAllocationProp shareable_memory() {
  auto prop = device_memory();
  prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return prop;
}

inline CUmemGenericAllocationHandle create_shareable(std::size_t bytes) {
  CUmemGenericAllocationHandle handle = 0;
  const auto prop = shareable_memory();
  OK(cuMemCreate(&handle, bytes, &prop, 0));
  return handle;
}

inline int export_fd(CUmemGenericAllocationHandle handle) {
  int fd = -1;
  OK(cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  return fd;
}

inline CUresult import_fd(CUmemGenericAllocationHandle* handle, int fd) {
  return cuMemImportFromShareableHandle(handle, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)),
                                        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
}

inline CUdeviceptr map_somewhere(CUmemGenericAllocationHandle handle, std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  map(at, bytes, handle);
  return at;
}

inline std::uint32_t word_at(CUdeviceptr at) {
  std::uint32_t word = 0;
  OK(cuMemcpyDtoH_v2(&word, at, 4));
  return word;
}

// Sockets carry descriptors and bytes between the processes of a case.
struct Sockets {
  int here = -1, there = -1;
  Sockets() {
    int pair[2];
    REQUIRE_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    here = pair[0];
    there = pair[1];
    ::fcntl(here, F_SETFD, FD_CLOEXEC);
  }
  ~Sockets() {
    ::close(here);
    ::close(there);
  }
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  std::vector<std::string> environment() const { return {"LULL_TEST_SOCKET=" + std::to_string(there)}; }
};
inline int inherited_socket() { return std::atoi(::getenv("LULL_TEST_SOCKET")); }

inline void send_fd(int socket, int fd) {
  char byte = 'f', control[CMSG_SPACE(sizeof fd)] = {};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  REQUIRE_EQ(::sendmsg(socket, &message, 0), 1);
}

inline int receive_fd(int socket) {
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  REQUIRE_EQ(::recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
  int fd = -1;
  REQUIRE(CMSG_FIRSTHDR(&message));
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

template <class T>
void send(int socket, const T& value) {
  REQUIRE_EQ(::send(socket, &value, sizeof value, 0), static_cast<ssize_t>(sizeof value));
}
template <class T>
T receive(int socket) {
  T value{};
  REQUIRE_EQ(::recv(socket, &value, sizeof value, 0), static_cast<ssize_t>(sizeof value));
  return value;
}

inline void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}

}  // namespace lull::sim::test

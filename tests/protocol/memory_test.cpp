#include "protocol/memory.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "protocol/page.h"

using namespace lull;

TEST_CASE("memory for the creator's writing cannot be mapped writable by anybody else") {
  auto memory = make_shared_memory("lull-test", page_bytes, Writers::creator_only);
  REQUIRE(memory);
  CHECK(::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd.get(), 0) == MAP_FAILED);
  void* reader = ::mmap(nullptr, page_bytes, PROT_READ, MAP_SHARED, memory->fd.get(), 0);
  REQUIRE(reader != MAP_FAILED);
  CHECK(::mprotect(reader, page_bytes, PROT_READ | PROT_WRITE) != 0);
  memory->mapping.as<DownPage>()->wake = 7;
  CHECK(static_cast<DownPage*>(reader)->wake == 7);
  CHECK(::munmap(reader, page_bytes) == 0);
}

TEST_CASE("the size of shared memory can no longer change") {
  auto memory = make_shared_memory("lull-test", page_bytes, Writers::everyone);
  REQUIRE(memory);
  CHECK(::ftruncate(memory->fd.get(), 0) != 0);
  CHECK(::ftruncate(memory->fd.get(), 2 * page_bytes) != 0);
  CHECK(check_shared_memory(memory->fd.get(), page_bytes));
  CHECK_FALSE(check_shared_memory(memory->fd.get(), 2 * page_bytes));
}

TEST_CASE("descriptors that could shrink under us are refused") {
  const Fd unsealed(::memfd_create("lull-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::ftruncate(unsealed.get(), page_bytes) == 0);
  CHECK_FALSE(check_shared_memory(unsealed.get(), page_bytes));
  const Fd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const auto status = check_shared_memory(file.get(), page_bytes);
  REQUIRE_FALSE(status);
  CHECK(std::strcmp(status.error().what, "read seals of shared memory") == 0);
}

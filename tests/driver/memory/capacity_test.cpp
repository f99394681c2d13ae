#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <random>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

struct Held {
  CUdeviceptr at;
  std::size_t bytes;
  CUmemGenericAllocationHandle handle;  // 0: of cuMemAlloc
};

// The first and the last word of a piece say whose it is.
bool write_owner(const Held& held, std::uint32_t owner) {
  return cuMemsetD32_v2(held.at, owner, 1) == CUDA_SUCCESS &&
         cuMemsetD32_v2(held.at + held.bytes - 4, owner, 1) == CUDA_SUCCESS;
}
bool still_owned(const Held& held, std::uint32_t owner) {
  std::uint32_t first = 0, last = 0;
  OK(cuMemcpyDtoH_v2(&first, held.at, 4));
  OK(cuMemcpyDtoH_v2(&last, held.at + held.bytes - 4, 4));
  return first == owner && last == owner;
}

// False: the card has no more now, which is an answer as good as any here.
bool take(std::size_t bytes, bool by_handle, Held& out) {
  out = {0, bytes, 0};
  if (!by_handle) {
    const CUresult result = cuMemAlloc_v2(&out.at, bytes);
    CHECK((result == CUDA_SUCCESS || result == CUDA_ERROR_OUT_OF_MEMORY));
    return result == CUDA_SUCCESS;
  }
  const auto prop = device_memory();
  const CUresult result = cuMemCreate(&out.handle, bytes, &prop, 0);
  CHECK((result == CUDA_SUCCESS || result == CUDA_ERROR_OUT_OF_MEMORY));
  if (result != CUDA_SUCCESS) return false;
  OK(cuMemAddressReserve(&out.at, bytes, 0, 0, 0));
  map(out.at, bytes, out.handle);
  return true;
}

void give(const Held& held) {
  if (!held.handle) {
    OK(cuMemFree_v2(held.at));
    return;
  }
  OK(cuMemUnmap(held.at, held.bytes));
  OK(cuMemRelease(held.handle));
  OK(cuMemAddressFree(held.at, held.bytes));
}

void say(const char* text) {
  std::puts(text);
  std::fflush(stdout);
}

// Takes as much as it can get, gives some back, and looks whether anybody else has been in its memory. A card of
// 128 MiB has room for four contexts and little more, so somebody always lacks memory.
ChildRole fighter("fight", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  const auto owner = static_cast<std::uint32_t>(::getpid());
  std::mt19937 random(owner);
  std::vector<Held> all;
  int refused = 0;
  say("ready");
  (void)std::getchar();
  say("fighting");
  for (int round = 0; round < 150; ++round) {
    Held piece{};
    if (take((1 + random() % 8) * granule, random() % 2 == 0, piece)) {
      if (!write_owner(piece, owner)) return 3;
      all.push_back(piece);
    } else {
      ++refused;
      for (std::size_t n = all.size() / 2; n > 0; --n) {
        if (!still_owned(all.back(), owner)) return 4;
        give(all.back());
        all.pop_back();
      }
    }
    std::size_t free = 0, total = 0;
    OK(cuMemGetInfo_v2(&free, &total));
    if (free > total) return 5;
  }
  for (const Held& piece : all) {
    if (!still_owned(piece, owner)) return 4;
    give(piece);
  }
  OK(cuCtxDestroy_v2(context));
  return refused > 0 ? 0 : 6;
});

// All have their contexts before the first takes memory.
std::vector<std::unique_ptr<Child>> four_fighters() {
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 4; ++i) children.push_back(std::make_unique<Child>("fight"));
  for (const auto& child : children) REQUIRE_EQ(child->line(), "ready");
  for (const auto& child : children) child->release();
  for (const auto& child : children) REQUIRE_EQ(child->line(), "fighting");
  return children;
}

}  // namespace

TEST_CASE("processes that fight for a card never get more than it has, and never each other's memory") {
  const TestContext context;
  const std::size_t alone = free_bytes();
  const auto children = four_fighters();
  for (const auto& child : children) CHECK_EQ(WEXITSTATUS(child->wait()), 0);
  CHECK_EQ(free_bytes(), alone);
  OK(cuMemRelease(create(alone)));
}

TEST_CASE("the memory of fighters killed in the middle is there for the others") {
  const TestContext context;
  const std::size_t alone = free_bytes();
  const auto children = four_fighters();
  for (std::size_t i = 0; i < 3; ++i) children[i]->kill();
  for (std::size_t i = 0; i < 3; ++i) CHECK_EQ(WTERMSIG(children[i]->wait()), SIGKILL);
  const int status = children[3]->wait();
  CHECK((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 6));  // alone, it may never have been refused
  CHECK_EQ(free_bytes(), alone);
  OK(cuMemRelease(create(alone)));
}

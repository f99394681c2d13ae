// What the simulator's tests share: a context of their own, kernels, other processes, the journal.
#pragma once
#include <doctest/doctest.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/journal/journal.h"
#include "tests/driver/surface/cuda_all.h"

namespace lull::sim::test {

#define OK(call) REQUIRE_EQ(call, CUDA_SUCCESS)

inline constexpr std::size_t MiB = 1u << 20;
inline constexpr std::size_t granule = 2 * MiB;
inline constexpr std::size_t card_bytes = 128 * MiB;
inline constexpr std::size_t context_bytes = 16 * MiB;
inline constexpr std::uint64_t link_bytes_per_s = 1'000'000'000;

// A context that is current for one test and goes with it, whatever error it has run into.
class TestContext {
 public:
  TestContext();
  ~TestContext();
  TestContext(const TestContext&) = delete;
  TestContext& operator=(const TestContext&) = delete;
  CUcontext handle = nullptr;
};

CUmemAllocationProp device_memory();
CUmemAccessDesc device_access(CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE);

// A reserved address with memory of its own behind it.
struct Mapped {
  CUdeviceptr at = 0;
  CUmemGenericAllocationHandle handle = 0;
};
CUmemGenericAllocationHandle create(std::size_t bytes);
void map(CUdeviceptr at, std::size_t bytes, CUmemGenericAllocationHandle handle);

CUdeviceptr allocate(std::size_t bytes);  // by cuMemAlloc
CUstream new_stream(unsigned flags = CU_STREAM_NON_BLOCKING);

// Kernels, see test_kernels.cpp: add_one(u32* words, u32 n); spin(u32* flag) until it is not 0.
CUfunction kernel(const char* name);
CUresult launch(CUfunction f, unsigned threads, CUstream stream, std::vector<void*> parameters);

std::size_t free_bytes();
bool eventually(const std::function<bool()>& state);  // within 10 s

std::vector<Record> journal(Kind kind);
std::string journal_path();
std::string own_path();  // of this executable

// The same executable, running one child role (see ChildRole) on the same card.
class Child {
 public:
  explicit Child(const std::string& role, const std::vector<std::string>& environment = {});  // "NAME=value"
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid = -1;
  std::string line();    // its next line of output; empty at its end, or where none comes
  void release() const;  // lets it go on
  int wait();            // its exit status
  void kill() const;

 private:
  int from_ = -1, to_ = -1;
  bool waited_ = false;
};
int run_child_role(std::string_view role);

// A role beside the cases that use it: ChildRole holder("hold", [] { ...; return 0; });
class ChildRole {
 public:
  ChildRole(const char* name, int (*body)());
  static ChildRole* find(std::string_view name);  // null: no such role
  int run() const { return run_(); }

 private:
  const char* name_;
  int (*run_)();
  ChildRole* next_;
};

}  // namespace lull::sim::test

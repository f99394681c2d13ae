#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/driver/testing/test_support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

namespace lull::sim::test {

TestContext::TestContext() { OK(cuCtxCreate_v2(&handle, 0, 0)); }
TestContext::~TestContext() { (void)cuCtxDestroy_v2(handle); }

CUmemAllocationProp device_memory() {
  CUmemAllocationProp prop{};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  return prop;
}

CUmemAccessDesc device_access(CUmemAccess_flags flags) {
  CUmemAccessDesc access{};
  access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.flags = flags;
  return access;
}

CUdeviceptr allocate(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

CUstream new_stream(unsigned flags) {
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, flags));
  return stream;
}

CUmemGenericAllocationHandle create(std::size_t bytes) {
  CUmemGenericAllocationHandle handle = 0;
  const auto prop = device_memory();
  OK(cuMemCreate(&handle, bytes, &prop, 0));
  return handle;
}

void map(CUdeviceptr at, std::size_t bytes, CUmemGenericAllocationHandle handle) {
  const auto access = device_access();
  OK(cuMemMap(at, bytes, 0, handle, 0));
  OK(cuMemSetAccess(at, bytes, &access, 1));
}

std::size_t free_bytes() {
  std::size_t free = 0, total = 0;
  OK(cuMemGetInfo_v2(&free, &total));
  return free;
}

bool eventually(const std::function<bool()>& state) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!state()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::string journal_path() { return ::getenv("LULL_SIM_JOURNAL"); }

std::vector<Record> journal(Kind kind) {
  auto records = read_journal(journal_path());
  std::erase_if(records, [&](const Record& r) { return r.kind != kind; });
  return records;
}

std::string own_path() {
  char path[4096] = "";
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return {path, length > 0 ? static_cast<std::size_t>(length) : 0};
}

namespace {

// A child that hangs fails its case and not the whole run.
bool readable_soon(int fd) {
  pollfd wanted{fd, POLLIN, 0};
  return ::poll(&wanted, 1, 60'000) == 1;
}

}  // namespace

Child::Child(const std::string& role, const std::vector<std::string>& environment) {
  std::vector<char*> variables;
  for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable; ++variable) variables.push_back(*variable);  // getenv takes the first
  variables.push_back(nullptr);
  int out[2], in[2];
  REQUIRE_EQ(::pipe2(out, O_CLOEXEC), 0);
  REQUIRE_EQ(::pipe2(in, O_CLOEXEC), 0);
  const std::string path = own_path(), argument = "--child=" + role;
  pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::execle(path.c_str(), path.c_str(), argument.c_str(), nullptr, variables.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(in[0]);
  from_ = out[0];
  to_ = in[1];
}

Child::~Child() {
  if (!waited_) {
    kill();
    (void)wait();
  }
  ::close(from_);
  ::close(to_);
}

std::string Child::line() {
  std::string text;
  char c = 0;
  while (readable_soon(from_) && ::read(from_, &c, 1) == 1 && c != '\n') text += c;
  return text;
}

void Child::release() const { REQUIRE_EQ(::write(to_, "\n", 1), 1); }
void Child::kill() const { ::kill(pid, SIGKILL); }

int Child::wait() {
  int status = -1;
  const int ended = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (!readable_soon(ended)) {
    CHECK_MESSAGE(false, "child ", pid, " did not end");
    kill();
  }
  ::close(ended);
  ::waitpid(pid, &status, 0);
  waited_ = true;
  return status;
}

}  // namespace lull::sim::test

// A card and a journal of this run alone; children inherit them.
int main(int argc, char** argv) {
  using namespace lull::sim::test;
  if (argc == 2 && std::string_view(argv[1]).starts_with("--child="))
    return run_child_role(std::string_view(argv[1]).substr(8));
  const std::string base = "/dev/shm/lull-sim-test-" + std::to_string(::getpid());
  const std::string journal = base + ".journal";
  ::setenv("LULL_SIM_POOL", base.c_str(), 1);
  ::setenv("LULL_SIM_JOURNAL", journal.c_str(), 1);
  ::setenv("LULL_SIM_MEMORY", "128MiB", 1);
  ::setenv("LULL_SIM_LINK", "1e9", 1);
  ::setenv("LULL_SIM_CONTEXT", "16MiB", 1);
  ::setenv("LULL_SIM_MODULE", "1MiB", 1);
  ::unsetenv("LULL_SIM_FAULTS");
  doctest::Context context(argc, argv);
  int result = 1;
  if (cuInit(0) == CUDA_SUCCESS) result = context.run();
  ::unlink(base.c_str());
  ::unlink(journal.c_str());
  return result;
}

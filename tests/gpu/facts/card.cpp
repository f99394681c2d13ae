#include "tests/gpu/facts/card.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <utility>

#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

// Word 1 says that it runs; it ends when word 0 is not 0, or when the time is over.
constexpr const char* kernels = R"(
.version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 words, .param .u64 ns)
{
  .reg .pred %p;
  .reg .b32 %r<3>;
  .reg .b64 %words, %ns, %begin, %now;
  ld.param.u64 %words, [words];
  ld.param.u64 %ns, [ns];
  mov.u32 %r1, 1;
  st.volatile.global.u32 [%words+4], %r1;
  mov.u64 %begin, %globaltimer;
again:
  ld.volatile.global.u32 %r2, [%words];
  setp.ne.u32 %p, %r2, 0;
  @%p bra done;
  mov.u64 %now, %globaltimer;
  sub.u64 %now, %now, %begin;
  setp.lt.u64 %p, %now, %ns;
  @%p bra again;
done:
  ret;
}
.visible .entry empty()
{
  ret;
}
)";

CUmodule load_kernels() {
  CUmodule module = nullptr;
  OK(cuModuleLoadData, &module, kernels);
  return module;
}

}  // namespace

void* symbol(const char* name) {
  static void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!driver) throw Skip(fmt::format("no driver: {}", ::dlerror()));
  void* found = ::dlsym(driver, name);
  if (!found) throw Skip(fmt::format("the driver has no {}", name));
  return found;
}

const char* name_of(CUresult result) {
  const char* name = nullptr;
  return CU(cuGetErrorName)(result, &name) == CUDA_SUCCESS && name ? name : "an error without a name";
}

void must(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  const auto text = fmt::format("{}: {}", call, name_of(result));
  if (result == CUDA_ERROR_NOT_SUPPORTED || result == CUDA_ERROR_NO_DEVICE) throw Skip(text);
  throw std::runtime_error(text);
}

double now() {
  timespec t{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

Card::Card() {
  OK(cuInit, 0);
  OK(cuDeviceGet, &device, 0);
  OK(cuDevicePrimaryCtxRetain, &context, device);
  OK(cuCtxSetCurrent, context);
  const auto properties = on_card(*this);
  OK(cuMemGetAllocationGranularity, &granularity, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
}

int Card::attribute(CUdevice_attribute which) const {
  int value = 0;
  OK(cuDeviceGetAttribute, &value, which, device);
  return value;
}

std::size_t Card::free_bytes() const {
  std::size_t free = 0, total = 0;
  OK(cuMemGetInfo, &free, &total);
  return free;
}

std::size_t Card::share(std::size_t wanted) const {
  return std::max(granularity, std::min(wanted, free_bytes() / 4) / granularity * granularity);
}

CUstream make_stream() {
  CUstream stream = nullptr;
  OK(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
  return stream;
}

CUmemAllocationProp on_card(const Card& card) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, card.device};
  return properties;
}

CUmemAccessDesc writable(const Card& card) {
  return {{CU_MEM_LOCATION_TYPE_DEVICE, card.device}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
}

Spinner::Spinner() {
  const CUmodule module = load_kernels();
  OK(cuModuleGetFunction, &spin_, module, "spin");
  OK(cuModuleGetFunction, &empty_, module, "empty");
  void* words = nullptr;
  OK(cuMemHostAlloc, &words, 8, CU_MEMHOSTALLOC_DEVICEMAP);
  words_ = static_cast<volatile std::uint32_t*>(words);
  words_[0] = 0;
  words_[1] = 0;
  OK(cuMemHostGetDevicePointer, &words_there_, words, 0);
}

void Spinner::submit(CUstream stream, std::uint64_t ns) const {
  CUdeviceptr words = words_there_;
  void* arguments[] = {&words, &ns};
  static const auto launch = CU(cuLaunchKernel);
  must(launch(spin_, 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr), "cuLaunchKernel");
}

void Spinner::submit_empty(CUstream stream) const {
  static const auto launch = CU(cuLaunchKernel);  // what is measured is the call, not looking for its name
  must(launch(empty_, 1, 1, 1, 1, 1, 1, 0, stream, nullptr, nullptr), "cuLaunchKernel");
}

void Spinner::start(CUstream stream, std::uint64_t ns) {
  words_[0] = 0;
  words_[1] = 0;
  submit(stream, ns);
  const double deadline = now() + 10;
  while (words_[1] == 0)
    if (now() > deadline) throw std::runtime_error("a kernel has not begun within 10 s");
}

void Spinner::stop() { words_[0] = 1; }

void Spinner::wait(CUstream stream) const { OK(cuStreamSynchronize, stream); }

Mapped::Mapped(const Card& card, std::size_t bytes, std::size_t handle_bytes)
    : card_(card), handle_bytes_(handle_bytes), handles_(std::max<std::size_t>(1, bytes / handle_bytes)) {
  OK(cuMemAddressReserve, &at_, this->bytes(), 0, 0, 0);
  map();
}

void Mapped::map() {
  const auto properties = on_card(card_);
  const auto access = writable(card_);
  for (std::size_t i = 0; i < handles_.size(); ++i) {
    OK(cuMemCreate, &handles_[i], handle_bytes_, &properties, 0);
    OK(cuMemMap, at_ + i * handle_bytes_, handle_bytes_, 0, handles_[i], 0);
  }
  OK(cuMemSetAccess, at_, bytes(), &access, 1);
}

void Mapped::unmap() {
  OK(cuMemUnmap, at_, bytes());
  for (const auto handle : handles_) OK(cuMemRelease, handle);
}

Other::Other(const std::function<void(const Line&)>& body, Ends ends) : ends_(ends) {
  int there[2], back[2];
  if (::pipe2(there, O_CLOEXEC) != 0 || ::pipe2(back, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("no process");
  if (pid_ == 0) {
    if (ends == Ends::with_us) {
      (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
    } else {  // who kills a fact that takes too long, kills its group, and waits for the end of its output
      (void)::setsid();
      if (const int nowhere = ::open("/dev/null", O_RDWR); nowhere >= 0) (void)::dup2(nowhere, STDOUT_FILENO);
    }
    (void)::close(there[1]);
    (void)::close(back[0]);
    int status = 0;
    try {
      body([&](double said) {
        double heard = 0;
        if (::write(back[1], &said, sizeof said) != sizeof said ||
            ::read(there[0], &heard, sizeof heard) != sizeof heard)
          ::_exit(0);
        return heard;
      });
    } catch (const std::exception&) {
      status = 1;
    }
    ::_exit(status);
  }
  (void)::close(there[0]);
  (void)::close(back[1]);
  to_ = there[1];
  from_ = back[0];
}

void Other::let_end() {
  (void)::close(std::exchange(to_, -1));  // it reads the end, and goes
  const double deadline = now() + 20;
  while (pid_ != 0 && ::waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (now() > deadline) break;
    const timespec pause{0, 10'000'000};
    (void)::nanosleep(&pause, nullptr);
  }
  pid_ = 0;
}

Other::~Other() {
  if (ends_ == Ends::by_itself && to_ >= 0) let_end();
  if (to_ >= 0) (void)::close(to_);
  (void)::close(from_);
  if (pid_ == 0) return;
  (void)::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

double Other::hear() {
  pollfd wait{from_, POLLIN, 0};
  double heard = 0;
  if (::poll(&wait, 1, 60'000) != 1 || ::read(from_, &heard, sizeof heard) != sizeof heard)
    throw std::runtime_error("the second process has failed");
  return heard;
}

void Other::say(double number) {
  if (::write(to_, &number, sizeof number) != sizeof number) throw std::runtime_error("the second process has gone");
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double best(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}

}  // namespace lull::facts

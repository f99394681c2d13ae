#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/hazards/support.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>

namespace lull::hazards {
namespace {

std::string card_path, journal_path;
std::size_t early_total = 0;
FakeBroker* own_broker = nullptr;
OtherBroker* other_broker = nullptr;
std::vector<pid_t> children;

void clean_up() {
  for (const pid_t child : children) (void)::kill(child, SIGKILL);
  if (own_broker) own_broker->leave();
  for (const char* card : {"", ".1"}) (void)::unlink((card_path + card).c_str());
  (void)::unlink(journal_path.c_str());
}

std::string own_path() {
  char path[4096] = "";
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  return {path, length > 0 ? static_cast<std::size_t>(length) : 0};
}

// The dynamic symbol of this name in an object: its table ends where its strings begin.
void* symbol_of(const dl_phdr_info& object, const char* name) {
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    if (object.dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + object.dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(entry->d_un.d_ptr);
      if (entry->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(entry->d_un.d_ptr);
    }
  }
  for (; symbols && reinterpret_cast<const char*>(symbols) < strings; ++symbols)
    if (symbols->st_value && std::strcmp(strings + symbols->st_name, name) == 0)
      return reinterpret_cast<void*>(object.dlpi_addr + symbols->st_value);
  return nullptr;
}

CUcontext start_client() {
  own_broker = new FakeBroker;
  CUcontext made = nullptr;
  OK(cuInit(0));
  OK(cuDeviceTotalMem_v2(&early_total, 0));
  OK(cuDevicePrimaryCtxRetain(&made, 0));
  OK(cuCtxSetCurrent(made));
  demand(comes_true([] { return own_broker->attached(); }), "the process is attached to its broker");
  return made;
}

}  // namespace

void demand(bool holds, const char* sentence) {
  if (holds) return;
  std::fprintf(stderr, "DEMAND: %s\n", sentence);
  if (other_broker) (*other_broker)->leave();
  clean_up();
  ::_exit(3);
}

CUcontext context() {
  static const CUcontext made = start_client();
  return made;
}

void* behind_the_shim(const char* name) {
  std::pair<const char*, void*> sought{name, nullptr};
  (void)::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* data) {
        auto& [wanted, found] = *static_cast<std::pair<const char*, void*>*>(data);
        if (std::string_view(object->dlpi_name).ends_with("libcuda.so.1")) found = symbol_of(*object, wanted);
        return 0;
      },
      &sought);
  demand(sought.second != nullptr, "the driver has the function");
  return sought.second;
}

FakeBroker& broker() {
  (void)context();
  return *own_broker;
}

std::size_t total_before_any_context() {
  (void)context();
  return early_total;
}

OtherBroker::OtherBroker() { other_broker = this; }
OtherBroker::~OtherBroker() { other_broker = nullptr; }

std::vector<std::uint32_t> pattern(std::size_t bytes, std::uint32_t seed) {
  std::vector<std::uint32_t> words(bytes / 4);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint32_t>(i) * 2654435761u + seed;
  return words;
}

void fill(CUdeviceptr at, std::size_t bytes, std::uint32_t seed) {
  OK(cuMemcpyHtoD_v2(at, pattern(bytes, seed).data(), bytes));
}

bool intact(CUdeviceptr at, std::size_t bytes, std::uint32_t seed) {
  std::vector<std::uint32_t> words(bytes / 4);
  return cuMemcpyDtoH_v2(words.data(), at, bytes) == CUDA_SUCCESS && words == pattern(bytes, seed);
}

std::size_t calls(std::string_view function, bool successful_only) {
  std::size_t count = 0;
  const auto number = sim::function_number(function);
  for (const sim::Record& record : sim::read_journal(journal_path))
    count += record.kind == sim::Kind::call && record.function == number &&
             record.pid == static_cast<unsigned>(::getpid()) && (!successful_only || record.result == CUDA_SUCCESS);
  return count;
}

std::size_t own_calls() {
  const auto self = static_cast<unsigned>(::syscall(SYS_gettid));
  std::size_t count = 0;
  for (const sim::Record& record : sim::read_journal(journal_path))
    count += record.kind == sim::Kind::call && record.tid == self;
  return count;
}

Program::Program(const std::vector<std::string>& command, Preload preload) {
  int out[2], in[2];
  demand(::pipe2(out, O_CLOEXEC) == 0 && ::pipe2(in, O_CLOEXEC) == 0, "pipes can be made");
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid = ::fork();
  demand(pid >= 0, "a process can be made");
  if (pid == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    if (preload == Preload::no) ::unsetenv("LD_PRELOAD");
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  children.push_back(pid);
  ::close(out[1]);
  ::close(in[0]);
  from_ = out[0];
  to_ = in[1];
}

Program::~Program() {
  if (!waited_) {
    kill(SIGKILL);
    (void)wait(10);
  }
  ::close(from_);
  ::close(to_);
}

bool Program::readable(int ms) const {
  pollfd wait{from_, POLLIN, 0};
  return ::poll(&wait, 1, ms) == 1;
}

char Program::byte() {
  char c = 0;
  return ::read(from_, &c, 1) == 1 ? c : 0;
}

std::string Program::line() {
  std::string text;
  for (char c = byte(); c && c != '\n'; c = byte()) text += c;
  return text;
}

void Program::release() const { demand(::write(to_, "\n", 1) == 1, "the program listens"); }
void Program::kill(int signal) const { (void)::kill(pid, signal); }

int Program::wait(int seconds) {
  int status = -1;
  demand(comes_true([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }, seconds), "the program ends in time");
  waited_ = true;
  std::erase(children, pid);
  return status;
}

std::vector<std::string> role(const std::string& name) { return {own_path(), "--role=" + name}; }

}  // namespace lull::hazards

// A card and a journal of this run alone; the programs beside it inherit them.
int main(int argc, char** argv) {
  using namespace lull::hazards;
  if (argc == 2 && std::string_view(argv[1]).starts_with("--role="))
    return run_role(std::string_view(argv[1]).substr(7));
  card_path = "/dev/shm/lull-hazards-" + std::to_string(::getpid());
  journal_path = card_path + ".journal";
  (void)::setenv("LULL_SIM_POOL", card_path.c_str(), 1);
  (void)::setenv("LULL_SIM_JOURNAL", journal_path.c_str(), 1);
  doctest::Context doctest(argc, argv);
  const int result = doctest.run();
  clean_up();
  std::fflush(nullptr);
  ::_exit(result);  // the broker and the shim's threads go with the process
}

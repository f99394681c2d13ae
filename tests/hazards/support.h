// What the hazards' cases share: a managed process with a broker moved by hand, programs beside it, and demands.
#pragma once
#include <doctest/doctest.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/journal/journal.h"
#include "tests/shim/fake_broker.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

namespace lull::hazards {

inline constexpr std::size_t mib = 1 << 20, granule = 2 * mib;

// What must hold. Where it does not, the sentence is printed and the program ends at once: a case that fails has
// threads that wait for what will not happen.
void demand(bool holds, const char* sentence);
inline void ok(CUresult result, const char* call) { demand(result == CUDA_SUCCESS, call); }
#define OK(call) ::lull::hazards::ok(call, #call " succeeds")

// This process as a client: a broker, the primary context of card 0 made and current. The same for all cases of a run.
FakeBroker& broker();
CUcontext context();
std::size_t total_before_any_context();

// A broker for another process, started by the case; demand() takes it along.
class OtherBroker {
 public:
  OtherBroker();
  ~OtherBroker();
  FakeBroker* operator->() { return &broker_; }

 private:
  FakeBroker broker_;
};

std::vector<std::uint32_t> pattern(std::size_t bytes, std::uint32_t seed);
void fill(CUdeviceptr at, std::size_t bytes, std::uint32_t seed);
bool intact(CUdeviceptr at, std::size_t bytes, std::uint32_t seed);

// Calls of a function in the journal so far, of this process or of all.
std::size_t calls(std::string_view function, bool successful_only = true);

// All calls of this thread in the journal so far.
std::size_t own_calls();

// A function of the driver itself, found without the loader: a route that the shim cannot see.
void* behind_the_shim(const char* name);

// Another program: this executable in a role (roles.cpp), or any other; its output and input are pipes of ours.
enum class Preload { yes, no };
class Program {
 public:
  Program(const std::vector<std::string>& command, Preload preload);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  pid_t pid = -1;
  char byte();  // its next byte of output; 0: it has closed it
  bool readable(int ms) const;
  std::string line();
  void release() const;   // lets it go on
  int wait(int seconds);  // its status; ends the run if it takes longer
  void kill(int signal) const;

 private:
  int from_ = -1, to_ = -1;
  bool waited_ = false;
};
std::vector<std::string> role(const std::string& name);
int run_role(std::string_view name);

}  // namespace lull::hazards

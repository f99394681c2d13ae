// Every route by which a program reaches the driver, for every row of hooks.def, with the shim preloaded and a stand-in
// driver behind it. A handled row must lead into the shim, any other straight to the driver; either way the driver is
// called once, with the caller's arguments, and its answer comes back.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "tests/interpose/libraries/libraries.h"
#include "tests/interpose/rows.h"
#include "tests/interpose/standin/standin.h"

using namespace interpose;

namespace {

std::string library_of(void* address) {
  Dl_info info{};
  if (!address || ::dladdr(address, &info) == 0 || !info.dli_fname) return "";
  const std::string path = info.dli_fname;
  return path.substr(path.rfind('/') + 1);
}
bool in_shim(void* address) { return library_of(address) == "liblull.so"; }

// Where a route must lead for this row.
void* destination(const Row& row) { return row.handled() ? row.linked : standin_address(row.symbol.c_str()); }

// How often the way from the test to the driver entered the shim: a detour that met itself would count twice.
unsigned entries_into_shim(const StandinCall& call) {
  unsigned entries = 0;
  bool inside = false;
  for (void* caller : call.callers) {
    const bool now_inside = in_shim(caller);
    entries += inside && !now_inside;
    inside = now_inside;
  }
  return entries;
}

void check_arguments(const Row& row, const Sent& sent, const StandinCall& call) {
  CHECK_MESSAGE(sent.result == standin_result(row.symbol.c_str()), row.symbol);
  if (!sent.comparable) return;
  for (std::size_t i = 0; i < sent.arguments.size(); ++i) {
    const std::uint64_t mask = sent.bytes[i] == 8 ? ~0ull : (1ull << 8 * sent.bytes[i]) - 1;
    CHECK_MESSAGE((call.arguments[i] & mask) == (sent.arguments[i] & mask), row.symbol, " argument ", i);
  }
}

void* open_driver(const char* name) {
  void* handle = ::dlopen(name, RTLD_NOW);
  REQUIRE_MESSAGE(handle != nullptr, ::dlerror());
  return handle;
}

void check_dlsym_of_every_row(void* handle) {
  for (const Row& row : rows()) CHECK_MESSAGE(::dlsym(handle, row.symbol.c_str()) == destination(row), row.symbol);
}

using LookupV1 = CUresult(const char*, void**, int, cuuint64_t);
using LookupV2 = CUresult(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*);

void check_lookup(const std::string& name, int version, cuuint64_t flags) {
  const Row* row = expected(name, version, (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0);
  void* wanted = row ? destination(*row) : nullptr;
  void* found = &found;
  CUdriverProcAddressQueryResult status{};
  CHECK(cuGetProcAddress_v2(name.c_str(), &found, version, flags, &status) == CUDA_SUCCESS);
  CHECK_MESSAGE(found == wanted, name, " at ", version, " flags ", flags);
  CHECK(status == (row ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT));
  found = &found;
  CHECK(cuGetProcAddress(name.c_str(), &found, version, flags) == (row ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND));
  CHECK_MESSAGE(found == wanted, name, " at ", version, " flags ", flags, " in the older form");
}

bool opted_in() { return std::getenv("LULL_CLASS") != nullptr; }

std::string beside_test(const char* file) { return std::string(std::getenv("LULL_TEST_LIBRARIES")) + "/" + file; }

template <typename F>
std::string written_to_stderr(F function) {
  char name[] = "/tmp/lull-routes-XXXXXX";
  const int file = ::mkstemp(name);
  const int before = ::dup(STDERR_FILENO);
  REQUIRE((file >= 0 && before >= 0));
  (void)::unlink(name);
  (void)::dup2(file, STDERR_FILENO);
  function();
  (void)::dup2(before, STDERR_FILENO);
  char text[4096];
  const auto size = ::pread(file, text, sizeof text, 0);
  (void)::close(before);
  (void)::close(file);
  return {text, size > 0 ? static_cast<std::size_t>(size) : 0};
}

}  // namespace

TEST_CASE("the table has every function of the headers, and linked names lead into the shim") {
  CHECK(rows().size() == 637);
  for (const Row& row : rows()) CHECK_MESSAGE(in_shim(row.linked), row.symbol, " leads to ", library_of(row.linked));
}

TEST_CASE("a linked call reaches the driver once, through the gate where it submits work") {
  for (const Row& row : rows()) {
    if (row.handled() && !row.gated())
      continue;  // handlers of their own do as they must: tested with the simulated GPU
    standin_forget(row.symbol.c_str());
    const Sent sent = row.call(row.linked);
    const StandinCall call = standin_call(row.symbol.c_str());
    CHECK_MESSAGE(call.count == 1, row.symbol);
    CHECK_MESSAGE(entries_into_shim(call) == (row.gated() ? 1 : 0), row.symbol);
    check_arguments(row, sent, call);
  }
}

// As the driver itself would be reached: some handlers stand for an older revision too, and call the newer one.
unsigned long calls_of_name(const std::string& name) {
  unsigned long count = 0;
  for (const Row& row : rows())
    if (row.name == name) count += standin_call(row.symbol.c_str()).count;
  return count;
}

TEST_CASE(
    "where nobody opted in, a function with a handler of its own is the driver's: called once, its answer given back") {
  if (opted_in()) return;  // handlers of their own do as they must: docs/driver-coverage.md names their tests
  for (const Row& row : rows()) {
    if (!row.handled() || row.gated()) continue;
    for (const Row& other : rows())
      if (other.name == row.name) standin_forget(other.symbol.c_str());
    const Sent sent = row.call(row.linked);
    CHECK_MESSAGE(calls_of_name(row.name) == 1, row.symbol);
    if (row.name == "cuGetProcAddress") continue;  // the stand-in has a real one, which refuses an empty name
    CHECK_MESSAGE(sent.result >= standin_result("cuCoredumpGetAttribute"), row.symbol);
    if (standin_call(row.symbol.c_str()).count == 1) check_arguments(row, sent, standin_call(row.symbol.c_str()));
  }
}

TEST_CASE("a second call goes the same way as the first, which had to find the driver's function") {
  for (const Row& row : rows()) {
    if (row.handled() && !row.gated()) continue;
    standin_forget(row.symbol.c_str());
    const Sent sent = row.call(row.linked);
    CHECK_MESSAGE(standin_call(row.symbol.c_str()).count == 1, row.symbol);
    check_arguments(row, sent, standin_call(row.symbol.c_str()));
  }
}

TEST_CASE("float arguments survive the search for the driver's function") {
  CHECK(static_cast<int>(cuParamSetf(nullptr, 0, 1.5f)) == standin_result("cuParamSetf"));
  CHECK(standin_last_float() == 1.5f);
}

TEST_CASE("dlopen and dlsym of single names lead into the shim for handled rows, to the driver for others") {
  check_dlsym_of_every_row(open_driver("libcuda.so.1"));
}

TEST_CASE("the name without its version and the absolute path are the same driver") {
  check_dlsym_of_every_row(open_driver("libcuda.so"));
  Dl_info info{};
  REQUIRE(::dladdr(standin_address("cuInit"), &info) != 0);
  REQUIRE(info.dli_fname[0] == '/');
  check_dlsym_of_every_row(open_driver(info.dli_fname));
}

TEST_CASE("RTLD_DEFAULT answers the exported symbol") {
  for (const Row& row : rows()) CHECK_MESSAGE(::dlsym(RTLD_DEFAULT, row.symbol.c_str()) == row.linked, row.symbol);
  CHECK(::dlsym(RTLD_DEFAULT, "cuUnheardOf") != nullptr);
}

TEST_CASE("dlvsym leads where dlsym does, and to nothing for a version that the driver does not have") {
  void* driver = open_driver("libcuda.so.1");
  CHECK(::dlvsym(driver, "cuLaunchKernel", "STANDIN_1") == ::dlsym(RTLD_DEFAULT, "cuLaunchKernel"));
  CHECK(::dlvsym(driver, "cuInit", "STANDIN_1") == standin_address("cuInit"));
  CHECK(::dlvsym(driver, "cuLaunchKernel", "NO_SUCH_VERSION") == nullptr);
  CHECK(::dlerror() != nullptr);
}

// Those that are known, alone and together, and some that nobody has given a meaning yet: the driver's answer decides.
constexpr cuuint64_t every_flag[] = {0, 1, 2, 3, 4, 6, 1ull << 31, 1ull << 63 | 2};

TEST_CASE("cuGetProcAddress answers every row at its version, one below it, and at a later one, for every flag") {
  for (const Row& row : rows())
    for (const cuuint64_t flags : every_flag)
      for (int version : {row.since, row.since - 1, 13000}) check_lookup(row.name, version, flags);
}

TEST_CASE("cuGetProcAddress of cuGetProcAddress has four arguments below 12000 and five from then on") {
  void* found = nullptr;
  CHECK(cuGetProcAddress_v2("cuGetProcAddress", &found, 11030, 0, nullptr) == CUDA_SUCCESS);
  CHECK(found == ::dlsym(RTLD_DEFAULT, "cuGetProcAddress"));
  CHECK(cuGetProcAddress_v2("cuGetProcAddress", &found, 12000, 0, nullptr) == CUDA_SUCCESS);
  CHECK(found == ::dlsym(RTLD_DEFAULT, "cuGetProcAddress_v2"));
}

TEST_CASE("cuGetProcAddress reached by dlsym, as the CUDA runtime does, answers as the linked one") {
  auto* lookup = reinterpret_cast<LookupV2*>(::dlsym(open_driver("libcuda.so.1"), "cuGetProcAddress_v2"));
  REQUIRE(in_shim(reinterpret_cast<void*>(lookup)));
  void* found = nullptr;
  CHECK(lookup("cuLaunchKernel", &found, 13000, 2, nullptr) == CUDA_SUCCESS);
  CHECK(found == ::dlsym(RTLD_DEFAULT, "cuLaunchKernel_ptsz"));
}

TEST_CASE("an answer that is no exported symbol's address is judged by name, version and flag") {
  standin_answer_aliases(1);
  for (const Row& row : rows()) {
    void* found = nullptr;
    const cuuint64_t flags = row.per_thread ? 2 : 1;
    REQUIRE(cuGetProcAddress_v2(row.name.c_str(), &found, row.since, flags, nullptr) == CUDA_SUCCESS);
    const Row* best = expected(row.name, row.since, row.per_thread);
    CHECK_MESSAGE(in_shim(found) == best->handled(), row.symbol);
    if (best->handled()) CHECK_MESSAGE(found == best->linked, row.symbol);
  }
  standin_answer_aliases(0);
}

TEST_CASE("odd names go to the driver as they are") {
  void* found = nullptr;
  CUdriverProcAddressQueryResult status{};
  CHECK(cuGetProcAddress_v2("", &found, 0, 0, &status) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuGetProcAddress("", &found, 0, 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuGetProcAddress_v2(nullptr, &found, 13000, 0, &status) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuGetProcAddress_v2("cuLaunchKernel", nullptr, 13000, 0, &status) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuGetProcAddress_v2("cuNoSuchFunction", &found, 13000, 0, &status) == CUDA_SUCCESS);
  CHECK(found == nullptr);
  CHECK(status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

TEST_CASE("a function newer than the table reaches the program by every look-up") {
  void* by_name = ::dlsym(open_driver("libcuda.so.1"), "cuUnheardOf");
  void* by_lookup = nullptr;
  CHECK(library_of(by_name) == "libcuda.so.1");
  CHECK(cuGetProcAddress_v2("cuUnheardOf", &by_lookup, 13000, 0, nullptr) == CUDA_SUCCESS);
  CHECK(by_lookup == by_name);
  CHECK(::dlsym(RTLD_DEFAULT, "cuUnheardOf") == by_name);
}

TEST_CASE("private tables and the driver's identity are the driver's own functions") {
  for (const char* symbol : {"cuGetExportTable", "cuDriverGetVersion", "cuDeviceGetUuid_v2", "cuDeviceGetName"}) {
    CHECK_MESSAGE(::dlsym(open_driver("libcuda.so.1"), symbol) == standin_address(symbol), symbol);
    for (const Row& row : rows())
      if (row.symbol == symbol) CHECK_MESSAGE(!row.handled(), symbol);
  }
}

TEST_CASE("dlerror tells of the program's own failures and of no others") {
  void* driver = open_driver("libcuda.so.1");
  (void)::dlerror();
  CHECK(::dlsym(driver, "cuNoSuchFunction") == nullptr);
  const char* error = ::dlerror();
  REQUIRE(error != nullptr);
  CHECK(std::strstr(error, "cuNoSuchFunction") != nullptr);
  CHECK(::dlsym(driver, "cuLaunchKernel") != nullptr);
  CHECK(::dlerror() == nullptr);
}

TEST_CASE("a constructor that runs before everything finds the shim") {
  const EarlyFindings early = early_findings();
  CHECK(early.launch == ::dlsym(RTLD_DEFAULT, "cuLaunchKernel"));
  CHECK(early.lookup == ::dlsym(RTLD_DEFAULT, "cuGetProcAddress_v2"));
  CHECK(early.looked_up_status == 0);
  CHECK(early.looked_up_launch == early.launch);
}

TEST_CASE("RTLD_NEXT is answered as seen from the library that asks, every time") {
  CHECK(lull_twin() == 1);
  CHECK(lull_second_twin() == 2);
  for (int i = 0; i < 3; ++i) {
    CHECK(lull_ask_next_twin() == 2);
    CHECK(lull_ask_next_driver_like_twin() == 2);
  }
}

TEST_CASE("dlopen looks where the library that asks wants it to look") {
  for (int i = 0; i < 3; ++i) CHECK(lull_open_by_runpath() == 42);
}

TEST_CASE("a library opened with RTLD_DEEPBIND does not bypass the shim of a process that opted in") {
  void* deep = ::dlopen(beside_test("liblull_test_deep.so").c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  REQUIRE_MESSAGE(deep != nullptr, ::dlerror());
  auto* ask = reinterpret_cast<void* (*)(const char*)>(::dlsym(deep, "lull_deep_dlsym"));
  auto* linked = reinterpret_cast<void* (*)()>(::dlsym(deep, "lull_deep_linked_launch"));
  REQUIRE((ask && linked));
  void* own = standin_address("cuLaunchKernel");
  void* ours = ::dlsym(RTLD_DEFAULT, "cuLaunchKernel");
  // Where nobody opted in, the library gets what it asked for: deep binding, past the shim.
  CHECK(ask("cuLaunchKernel") == (opted_in() ? ours : own));
  CHECK(linked() == (opted_in() ? ours : own));
}

TEST_CASE("a driver in a namespace of its own still works, out of the shim's reach, and the shim says so") {
  void* apart = nullptr;
  const std::string said = written_to_stderr([&] { apart = ::dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW); });
  REQUIRE_MESSAGE(apart != nullptr, ::dlerror());
  void* found = ::dlsym(apart, "cuLaunchKernel");
  CHECK(found != nullptr);
  CHECK(found != standin_address("cuLaunchKernel"));
  CHECK_FALSE(in_shim(found));
  if (!std::getenv("LULL_LOG"))
    CHECK(said == "");
  else if (opted_in())
    CHECK(said.find("unmanaged from now on: the driver was opened in a namespace of its own") != said.npos);
}

TEST_CASE("threads that call and look up at once all reach the driver") {
  standin_forget("cuLaunchKernel");
  constexpr int threads = 4, rounds = 200;
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i)
    running.emplace_back([] {
      void* driver = ::dlopen("libcuda.so.1", RTLD_NOW);
      for (int round = 0; round < rounds; ++round) {
        auto* launch = reinterpret_cast<decltype(&cuLaunchKernel)>(::dlsym(driver, "cuLaunchKernel"));
        (void)launch(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr);
      }
    });
  for (auto& thread : running) thread.join();
  CHECK(standin_call("cuLaunchKernel").count == threads * rounds);
}

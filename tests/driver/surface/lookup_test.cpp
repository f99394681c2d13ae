#include <dlfcn.h>

#include <cstring>
#include <map>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

struct NameRow {
  const char* symbol;
  const char* base;
  int since;
  const char* suffix;
};
const NameRow name_rows[] = {
#define NAME(symbol, base, since, suffix) {#symbol, base, since, suffix},
#include "tests/driver/surface/names.inc"
#undef NAME
};

void* exported(const char* symbol) {
  static void* driver = ::dlopen("libcuda.so.1", RTLD_NOW);
  REQUIRE(driver);
  return ::dlsym(driver, symbol);
}

}  // namespace

// A name of the driver's, defined in front of it as a preloaded library would: the table below must not hold this one.
extern "C" CUresult cuProfilerStop() { return CUDA_ERROR_UNKNOWN; }

TEST_CASE("a name that another library defines in front of the driver is not what the driver uses or hands out") {
  void* found = nullptr;
  OK(cuGetProcAddress_v2("cuProfilerStop", &found, 4000, 0, nullptr));
  CHECK_EQ(found, exported("cuProfilerStop"));
  CHECK_NE(found, reinterpret_cast<void*>(&cuProfilerStop));
  CHECK_EQ(::dlsym(RTLD_DEFAULT, "cuProfilerStop"), reinterpret_cast<void*>(&cuProfilerStop));  // it is in front
}

TEST_CASE("every name of the toolkit's headers is exported, and those of its graphics headers") {
  CHECK_EQ(std::size(name_rows), 637 + 35);
  for (const NameRow& row : name_rows) CHECK_MESSAGE(exported(row.symbol) != nullptr, row.symbol);
}

TEST_CASE("cuGetProcAddress gives each version of each name at its own version and until the next") {
  std::map<std::string, std::map<int, std::string>> legacy, per_thread;
  for (const NameRow& row : name_rows) (*row.suffix ? per_thread : legacy)[row.base][row.since] = row.symbol;
  for (const auto& entry : legacy) {
    const auto& versions = entry.second;
    for (auto it = versions.begin(); it != versions.end(); ++it) {
      const auto next = std::next(it);
      for (const int version : {it->first, next == versions.end() ? CUDA_VERSION : next->first - 1}) {
        void* found = nullptr;
        CUdriverProcAddressQueryResult status{};
        OK(cuGetProcAddress_v2(entry.first.c_str(), &found, version, 0, &status));
        CHECK_MESSAGE(found == exported(it->second.c_str()), entry.first, " at ", version);
        CHECK_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
      }
    }
  }
  for (const auto& entry : per_thread) {
    for (const auto& version : entry.second) {
      void* found = nullptr;
      OK(cuGetProcAddress_v2(entry.first.c_str(), &found, version.first, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
                             nullptr));
      CHECK_MESSAGE(found == exported(version.second.c_str()), entry.first, " at ", version.first);
    }
  }
}

TEST_CASE("flag 2 falls back to the plain form where there is no per-thread one") {
  void* found = nullptr;
  OK(cuGetProcAddress_v2("cuMemAlloc", &found, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, nullptr));
  CHECK_EQ(found, exported("cuMemAlloc_v2"));
}

TEST_CASE("what is unknown, too new or empty is told by the status, with success and no address") {
  void* found = &found;
  CUdriverProcAddressQueryResult status{};
  CHECK_EQ(cuGetProcAddress_v2("cuNoSuchThing", &found, 12000, 0, &status), CUDA_SUCCESS);
  CHECK_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  CHECK_EQ(found, nullptr);
  CHECK_EQ(cuGetProcAddress_v2("cuMemCreate", &found, 9000, 0, &status), CUDA_SUCCESS);
  CHECK_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  CHECK_EQ(cuGetProcAddress_v2("", &found, 0, 0, &status), CUDA_SUCCESS);
  CHECK_EQ(found, nullptr);
  CHECK_EQ(cuGetProcAddress_v2("cuInit", &found, CUDA_VERSION + 10, 0, &status), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGetProcAddress_v2(nullptr, &found, 12000, 0, &status), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("there are no private export tables") {
  const void* table = &table;
  const CUuuid id{};
  CHECK_EQ(cuGetExportTable(&table, &id), CUDA_ERROR_NOT_FOUND);
  CHECK_EQ(table, nullptr);
}

TEST_CASE("what is not implemented says so") {
  void* const address = exported("cuGraphicsGLRegisterBuffer");
  REQUIRE(address);
  const auto absent = reinterpret_cast<CUresult (*)(void*, void*)>(address);
  CHECK_EQ(absent(nullptr, nullptr), CUDA_ERROR_NOT_SUPPORTED);
}

TEST_CASE("errors have their names") {
  const char* text = nullptr;
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  CHECK_EQ(std::strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS"), 0);
  OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  CHECK_EQ(std::strcmp(text, "out of memory"), 0);
  CHECK_EQ(cuGetErrorName(static_cast<CUresult>(998), &text), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("names of a later CUDA version than the driver's are neither exported nor found") {
  void* found = &found;
  CUdriverProcAddressQueryResult status{};
  for (const char* name : {"cuDevSmResourceSplit", "cuGraphGetId", "cuStreamGetDevResource"}) {
    CHECK_EQ(exported(name), nullptr);
    OK(cuGetProcAddress_v2(name, &found, CUDA_VERSION, 0, &status));
    CHECK_EQ(found, nullptr);
    CHECK_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  }
}

TEST_CASE("cuGetProcAddress knows three flags and answers others with an invalid value") {
  void* found = nullptr;
  OK(cuGetProcAddress_v2("cuMemAlloc", &found, 12000, CU_GET_PROC_ADDRESS_LEGACY_STREAM, nullptr));
  CHECK_EQ(found, exported("cuMemAlloc_v2"));
  CHECK_EQ(cuGetProcAddress_v2("cuMemAlloc", &found, 12000, 3, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGetProcAddress_v2("cuMemAlloc", &found, 12000, 4, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGetProcAddress_v2("cuMemAlloc", nullptr, 12000, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  OK(cuGetProcAddress("cuMemAlloc", &found, 2000, 0));
  CHECK_EQ(found, exported("cuMemAlloc"));
}

// Functions of the stand-in that do more than remember. They take the place of standin.cpp's weak ones.
#include "tests/interpose/standin/lookup.h"

#include "tests/interpose/standin/standin.h"

namespace {
constexpr int not_found = 500;
float last_float = 0;
}  // namespace

extern "C" {

int cuGetProcAddress(const char* name, void** function, int version, std::uint64_t flags) {
  const int result = standin_note_lookup("cuGetProcAddress", name, function, version, flags);
  return result < 0 ? not_found : result;
}

int cuGetProcAddress_v2(const char* name, void** function, int version, std::uint64_t flags, int* status) {
  const int result = standin_note_lookup("cuGetProcAddress_v2", name, function, version, flags);
  if (status && result <= 0) *status = -result;
  return result < 0 ? 0 : result;
}

int cuParamSetf(void*, int, float value) {
  standin_count("cuParamSetf");
  last_float = value;
  return standin_result("cuParamSetf");
}

float standin_last_float() { return last_float; }

}  // extern "C"

// Calls every row once and asks for a function newer than the table and for a driver apart: for observe_test.py, with
// the stand-in driver.
#include <dlfcn.h>

#include <cstdio>

#include "tests/interpose/rows.h"
#include "tests/interpose/standin/standin.h"

using namespace interpose;

int main() {
  int wrong = 0;
  standin_work();
  for (const Row& row : rows()) {
    if (row.handled() && !row.gated()) continue;
    standin_forget(row.symbol.c_str());
    const Sent sent = row.call(row.linked);
    const StandinCall call = standin_call(row.symbol.c_str());
    bool same = call.count == 1;
    for (std::size_t i = 0; sent.comparable && i < sent.arguments.size(); ++i) {
      const std::uint64_t mask = sent.bytes[i] == 8 ? ~0ull : (1ull << 8 * sent.bytes[i]) - 1;
      same = same && ((call.arguments[i] ^ sent.arguments[i]) & mask) == 0;
    }
    if (!same && row.symbol != "cuParamSetf") ++wrong, std::printf("%s\n", row.symbol.c_str());
  }
  void* unknown = nullptr;
  (void)cuGetProcAddress_v2("cuUnheardOf", &unknown, 13000, 0, nullptr);
  if (!::dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW)) ++wrong;
  return wrong == 0 && unknown == ::dlsym(::dlopen("libcuda.so.1", RTLD_NOW), "cuUnheardOf") ? 0 : 1;
}

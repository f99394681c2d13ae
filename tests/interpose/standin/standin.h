// A driver that does nothing but remember: every function of hooks.def, its count of calls and its last arguments.
// It answers cuGetProcAddress by the documented rule. Test programs link it and read it through these functions.
// Told to work, it is a driver with one card, whose functions succeed: enough for the shim to manage the process.
#pragma once
#include <cstdint>

extern "C" {

struct StandinCall {
  unsigned long count;
  std::uint64_t arguments[18];  // as integers; the call may have had fewer
  void* callers[8];             // return addresses, innermost first
};

StandinCall standin_call(const char* symbol);  // since standin_forget()
void standin_forget(const char* symbol);
void* standin_address(const char* symbol);  // the driver's own function, whoever else exports that name
int standin_result(const char* symbol);     // what it returns: different for each
float standin_last_float();                 // of cuParamSetf

void standin_work();
unsigned long standin_calls_of_this_thread(const char* symbol);
void standin_fail_once(const char* symbol, int result);  // its next call, though it works

// From now on cuGetProcAddress answers addresses that are not those of the exported symbols (0: as usual again).
void standin_answer_aliases(int on);
}

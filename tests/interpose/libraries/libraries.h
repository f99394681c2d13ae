// What the small libraries of these tests offer. Each stands for a way in which a program reaches others' functions.
#pragma once

struct EarlyFindings {
  void* launch = nullptr;            // dlsym, in a static constructor
  void* lookup = nullptr;            // dlsym of cuGetProcAddress_v2
  void* looked_up_launch = nullptr;  // what that answered
  int looked_up_status = -1;
};
EarlyFindings early_findings();

extern "C" {

// twins.cpp, twice: lull_twin() of the first library answers 1 and asks RTLD_NEXT for the second's, which answers 2.
int lull_twin();
int lull_ask_next_twin();
// The same with a name that the dlsym hook looks at.
int cuTwinOfTests();
int lull_ask_next_driver_like_twin();
int lull_second_twin();  // in the second library alone: the test names it, so that the linker keeps that library

// runpath.cpp: opens a library that only its own RUNPATH finds, and asks it; -1 if it cannot be opened.
int lull_open_by_runpath();

// deep.cpp, opened with RTLD_DEEPBIND: it opens and asks the driver itself, or is linked with it.
void* lull_deep_dlsym(const char* symbol);
void* lull_deep_linked_launch();
}

// shim/lookup.h: which address a program is given for a driver function's name.
//
// The driver is asked first, so status, errors and "not found" stay its own; then its address of a row that we handle
// is replaced by our export. Rows marked `pass`, and names the table has never heard of, keep the driver's own address.
#pragma once
#include "shim/real.h"

namespace lull::lookup {

CUresult get_proc_address(const char* name, void** function, int version, cuuint64_t flags);  // asked for below 12000
CUresult get_proc_address(const char* name, void** function, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult* status);

void* by_symbol(void* handle, const char* symbol, void* found);  // dlsym found this in the library `handle`

unsigned long unknown_count();  // look-ups that the table could not judge
unsigned long guessed_count();  // addresses that were no row's, judged by name, version and flavour

}  // namespace lull::lookup

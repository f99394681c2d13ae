// shim/driver.h: where the driver is, and its address of each row of hooks.def.
#pragma once
#include "shim/rows.h"

namespace lull {

// Whether to load the driver when the program has not done so yet.
enum class Load : bool { no, yes };

void* driver(Load load);  // its handle, null if it is not there

void* driver_address(unsigned row, Load load);  // null: no driver, or it does not have this function
void* export_address(unsigned row);             // our own exported function

}  // namespace lull

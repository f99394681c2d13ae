#pragma once
#include "tests/driver/card/clock.h"
#include "tests/driver/journal/journal.h"

namespace lull::sim {

bool journal_on();
void journal_write(Record record);  // fills in pid, tid and written_ns

}  // namespace lull::sim

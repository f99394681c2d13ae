// What the programs beside a case do.
#include <cstdio>

#include "tests/hazards/support.h"

namespace lull::hazards {

int run_role(std::string_view) { return 64; }

}  // namespace lull::hazards

// What the programs beside a case do.
#include "tests/residency/support.h"

namespace lull::residency_test {

int run_role(std::string_view) { return 64; }

}  // namespace lull::residency_test

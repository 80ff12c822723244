// Where the tests' data lies: as configured, or where the variable of the environment YOPO_TEST_DATA says, for test
// programs that run on another machine (scripts/gpu_pack.sh).
#pragma once

#include <cstdlib>

#include "core/file.h"

namespace yopo::testing {

inline fs::path test_data() {
  const char* const elsewhere = std::getenv("YOPO_TEST_DATA");
  return elsewhere && *elsewhere ? fs::path(elsewhere) : fs::path(YOPO_TEST_DATA);
}

}  // namespace yopo::testing

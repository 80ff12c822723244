// The version that plans, statistics and exports name in their provenance. It stands in CMakeLists.txt alone.
#pragma once

#include <string_view>

namespace yopo {

extern const std::string_view tool_version;  // "0.1.0"; constant-initialised

}  // namespace yopo

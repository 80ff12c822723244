// The version that plans, statistics and exports name in their provenance; the same as the project's in CMakeLists.txt.
#pragma once

#include <string_view>

namespace yopo {

inline constexpr std::string_view tool_version = "0.1.0";

}  // namespace yopo

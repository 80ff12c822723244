#include "core/version.h"

namespace yopo {

constinit const std::string_view tool_version = YOPO_VERSION;

}  // namespace yopo

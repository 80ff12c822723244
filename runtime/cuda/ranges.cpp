#include "runtime/cuda/ranges.h"

#include <cstdlib>
#include <string_view>

#if !defined(YOPO_CUDA_SHIM)
#include <nvtx3/nvToolsExt.h>  // header only: calls a profiler where one is attached
#endif

namespace yopo::runtime::YOPO_CUDA_SPACE {

bool ranges_wanted() {
  const char* const value = std::getenv("YOPO_NVTX");
  return value && std::string_view(value) == "1";
}

#if defined(YOPO_CUDA_SHIM)
void begin_range(const char*) {}
void end_range() {}
#else
void begin_range(const char* name) { nvtxRangePushA(name); }
void end_range() { nvtxRangePop(); }
#endif

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

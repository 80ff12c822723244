// Ranges on the time line of NVIDIA's profilers (NVTX), where YOPO_NVTX=1 asks for them.
#pragma once

#include "runtime/cuda/space.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {

bool ranges_wanted();
void begin_range(const char* name);
void end_range();

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

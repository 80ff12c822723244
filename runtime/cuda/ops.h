// The CUDA backend as the rest of the runtime sees it. No CUDA header.
#pragma once

#include <string>

#include "runtime/cuda/space.h"
#include "runtime/ops.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// Whether this machine has a GPU of this number and a driver that the backend runs on; if not, what is needed and what
/// is there.
bool usable(std::string* why, int64_t gpu = 0);

/// The table of operations. The first call opens the GPU: UserError if it cannot be used, and later for another one.
const Ops& cuda_ops(int64_t gpu = 0);

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

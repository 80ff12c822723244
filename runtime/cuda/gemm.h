// Matrix products through cuBLASLt.
#pragma once

#include "runtime/cuda/space.h"
#include "runtime/ops.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// See runtime/ops.h. F32, BF16 and F16 inputs, accumulated in fp32; fp32 products without TF32's rounding.
void gemm(const Gemm& gemm);

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

// The matrix product behind the emulated cuBLASLt.
#pragma once

#include <cstdint>

#include "library_types.h"

namespace shim {

/// A matrix in memory: element (i, j) lies row_step i + column_step j elements after the first.
struct MatrixView {
  const void* data = nullptr;
  cudaDataType_t type = CUDA_R_32F;
  int64_t row_step = 1, column_step = 1;
};

/// d [m, n] = alpha a [m, k] b [k, n] + beta c [m, n] + bias [m], summed in fp32 in an order that depends on k only.
struct ProductTask {
  int64_t m = 0, n = 0, k = 0;
  MatrixView a, b, c;  // c is not read where beta is 0
  MatrixView d;        // written; may be c
  float alpha = 1, beta = 0;
  const void* bias = nullptr;  // of d's type, or null
};
void multiply(const ProductTask& task);

}  // namespace shim

// The packed form of weights on the CPU: oneDNN's blocks of 64 rows, in which a block's columns follow one another.
#pragma once

#include <cstdint>

#include <dnnl.hpp>

#include "core/dtype.h"

namespace yopo::runtime::cpu {

/// Bytes of rows [n, k] packed; 0 where this machine's products have no use for the form.
size_t packed_bytes(DType type, int64_t n, int64_t k);
/// out = w [n, k], rows `ldw` apart. Element (row, column) lies at block row / 64, then at
/// (column * 64 + row % 64) of fp32, or at (column / 2 * 128 + row % 64 * 2 + column % 2) of bf16; rest and padding are
/// zero.
void pack(DType type, const void* w, int64_t ldw, int64_t n, int64_t k, void* out);

/// The form as oneDNN's matmul takes it: its weights are [k, n].
dnnl::memory::desc packed_desc(DType type, int64_t n, int64_t k);

}  // namespace yopo::runtime::cpu

// Matrix products on the CPU: oneDNN, and own dot products where a handful of rows leaves only memory bandwidth to win.
#pragma once

#include "runtime/ops.h"

namespace yopo::runtime::cpu {

/// See runtime/ops.h. Safe to call from several threads.
void gemm(const Gemm& gemm);

/// The two ways behind gemm(), for tests and benchmarks. gemv: m <= 4.
void gemm_onednn(const Gemm& gemm);
void gemv(const Gemm& gemm);

/// Whether bf16 products run in hardware (`auto` chooses bf16) and whether they run at all.
bool bf16_is_fast();
bool bf16_is_possible();

}  // namespace yopo::runtime::cpu

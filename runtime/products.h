// Products of the runtime for callers that fit something to its rows.
#pragma once

#include <cstdint>
#include <vector>

#include "models/trace.h"
#include "plans/plan.h"

namespace yopo::runtime {

/// sum over rows of a_i b_j: out [a_columns, b_columns] = a^T b in fp32, in blocks of rows that are summed in double.
/// a [rows, a_columns], b [rows, b_columns] row-major.
void add_cross_product(const float* a, const float* b, int64_t rows, int64_t a_columns, int64_t b_columns,
                       std::vector<double>& out);

/// out [rows, outputs] = a w^T: a [rows, columns], w [outputs, columns], all row-major fp32.
void multiply_rows(const float* a, const float* w, int64_t rows, int64_t columns, int64_t outputs, float* out);

/// rows.x += up (down normed) + bias, as the decoder does it in this type.
void add_compensation(const Compensation& added, const VisualRows& rows);

}  // namespace yopo::runtime

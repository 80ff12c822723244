// Row-wise and element-wise work on the CPU: norms, rotary embedding, activations, cache writes. See runtime/ops.h.
#pragma once

#include "runtime/ops.h"

namespace yopo::runtime::cpu {

void rms_norm(const float* x, const float* weight, double eps, int64_t rows, int64_t columns, DType type, void* out);
void layer_norm(const float* x, const float* weight, const float* bias, double eps, int64_t rows, int64_t columns,
                DType type, void* out);
void rope(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* cos,
          const float* sin);
void norm_heads(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* weight,
                double eps);
void store(const KvRows& rows, DType type, int64_t head_dim, const float* cos, const float* sin,
           std::span<const StoreRows> targets);
void store_decode(const DecodeStore& store);
void gated(const void* gate, const void* up, DType type, int64_t rows, int64_t columns, int64_t stride, void* out);
void activate(Activation activation, void* x, DType type, int64_t count);
void add_bias(float* x, const float* bias, int64_t rows, int64_t columns);
void add_scaled(float* x, const float* scale, const float* y, int64_t rows, int64_t columns);
void embed_patches(const float* patches, const float* class_embed, const float* position_embed, int64_t images,
                   int64_t positions, int64_t columns, float* out);
void drop_rows(const float* x, int64_t groups, int64_t rows, int64_t skip, int64_t columns, DType type, void* out);
void mix_rows(const float* from, const int32_t* index, const float* weight, int64_t count, int64_t columns, float* out);

}  // namespace yopo::runtime::cpu

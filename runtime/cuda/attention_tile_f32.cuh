// A query tile for fp32: plain fused multiply-adds, nothing rounded below fp32. Threads lie as 16 x 8 over the tile;
// thread (y, x) has the rows y + 16 i, the keys x + 8 j and the columns 32 c + 4 x + {0..3}, so that the 8 threads of a
// row are neighbours in a warp.
#pragma once

#include "runtime/cuda/async_copies.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// Dim: columns held, a multiple of 32; those past head_dim are zero.
template <int Dim>
class F32Tile {
  static constexpr int own_rows = Dim > 128 ? 2 : 4, own_keys = Dim > 128 ? 2 : 4, own_columns = Dim / 32;

 public:
  using Element = float;
  static constexpr int threads = 128, rows = 16 * own_rows, keys = 8 * own_keys;
  static constexpr int blocks = 2;  // wanted on a multiprocessor; bounds the registers
  // 4 elements past the row: eight rows of 16 bytes then lie in different banks.
  struct Shared {
    alignas(16) float q[rows][Dim + 4];
    alignas(16) float k[keys][Dim + 4];
    alignas(16) float v[keys][Dim + 4];
    alignas(16) float weights[rows][keys + 4];
  };

  __device__ __forceinline__ explicit F32Tile(Shared& shared, int head_dim)
      : shared_(shared), scale_(1.0f / sqrtf(float(head_dim))) {
    YOPO_UNROLL(32)
    for (int i = 0; i < own_rows; ++i) {
      top_[i] = -INFINITY;
      sum_[i] = 0.0f;
      YOPO_UNROLL(32)
      for (int c = 0; c < own_columns; ++c) out_[i][c] = make_float4(0, 0, 0, 0);
    }
  }

  /// The first and last row of the tile that this warp computes.
  __device__ __forceinline__ int first_row() const { return int(threadIdx.x) / warp_size * 4; }
  __device__ __forceinline__ int last_row() const { return first_row() + 3 + 16 * (own_rows - 1); }

  __device__ __forceinline__ void load_queries(const float* q, int64_t stride, int count, int head_dim) {
    load_rows<threads, rows, Dim>(copies_, shared_.q, q, stride, count, head_dim);
  }
  __device__ __forceinline__ void load_keys(const float* k, int64_t stride, int count, int head_dim) {
    load_rows<threads, keys, Dim>(copies_, shared_.k, k, stride, count, head_dim);
  }
  __device__ __forceinline__ void load_values(const float* v, int64_t stride, int count, int head_dim) {
    load_rows<threads, keys, Dim>(copies_, shared_.v, v, stride, count, head_dim);
  }
  __device__ __forceinline__ void wait() { copies_.wait(); }

  /// scores = q x k^T.
  __device__ __forceinline__ void score() {
    YOPO_UNROLL(32)
    for (int i = 0; i < own_rows; ++i) {
      YOPO_UNROLL(32)
      for (int j = 0; j < own_keys; ++j) scores_[i][j] = 0.0f;
    }
    YOPO_UNROLL(4)
    for (int d = 0; d < Dim; d += 4) {
      float4 q[own_rows], k[own_keys];
      YOPO_UNROLL(32)
      for (int i = 0; i < own_rows; ++i) q[i] = *reinterpret_cast<const float4*>(&shared_.q[y() + 16 * i][d]);
      YOPO_UNROLL(32)
      for (int j = 0; j < own_keys; ++j) k[j] = *reinterpret_cast<const float4*>(&shared_.k[x() + 8 * j][d]);
      YOPO_UNROLL(32)
      for (int i = 0; i < own_rows; ++i) {
        YOPO_UNROLL(32)
        for (int j = 0; j < own_keys; ++j) {
          float sum = fmaf(q[i].x, k[j].x, scores_[i][j]);
          sum = fmaf(q[i].y, k[j].y, sum);
          sum = fmaf(q[i].z, k[j].z, sum);
          scores_[i][j] = fmaf(q[i].w, k[j].w, sum);
        }
      }
    }
  }

  /// Takes the pairs out of the softmax for which mask_of(row)(key) is false.
  template <typename MaskOf>
  __device__ __forceinline__ void mask(MaskOf mask_of) {
    YOPO_UNROLL(32)
    for (int i = 0; i < own_rows; ++i) {
      const auto reads = mask_of(y() + 16 * i);
      YOPO_UNROLL(32)
      for (int j = 0; j < own_keys; ++j)
        if (!reads(x() + 8 * j)) scores_[i][j] = -INFINITY;
    }
  }

  /// weights = exp(score - largest so far); what was summed before is scaled to the new largest.
  __device__ __forceinline__ void soften() {
    YOPO_UNROLL(32)
    for (int i = 0; i < own_rows; ++i) {
      float top = top_[i];
      YOPO_UNROLL(32)
      for (int j = 0; j < own_keys; ++j) top = fmaxf(top, scores_[i][j]);
      YOPO_UNROLL(32)
      for (int distance = 1; distance < 8; distance *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, distance));
      const float reference = top == -INFINITY ? 0.0f : top;  // a row may have met no key of its own yet
      const float fade = expf((top_[i] - reference) * scale_);
      top_[i] = top;
      sum_[i] *= fade;
      YOPO_UNROLL(32)
      for (int j = 0; j < own_keys; ++j) {
        const float weight = expf((scores_[i][j] - reference) * scale_);
        shared_.weights[y() + 16 * i][x() + 8 * j] = weight;
        sum_[i] += weight;
      }
      YOPO_UNROLL(32)
      for (int c = 0; c < own_columns; ++c) out_[i][c] = blend(fade, out_[i][c], make_float4(0, 0, 0, 0));
    }
  }

  /// out += weights x v.
  __device__ __forceinline__ void weigh() {
    // A row's weights are written and read by neighbours in a warp; a barrier of the block lies in between.
    YOPO_UNROLL(2)
    for (int key = 0; key < keys; ++key) {
      float weight[own_rows];
      YOPO_UNROLL(32)
      for (int i = 0; i < own_rows; ++i) weight[i] = shared_.weights[y() + 16 * i][key];
      YOPO_UNROLL(32)
      for (int c = 0; c < own_columns; ++c) {
        const float4 v = *reinterpret_cast<const float4*>(&shared_.v[key][32 * c + 4 * x()]);
        YOPO_UNROLL(32)
        for (int i = 0; i < own_rows; ++i) out_[i][c] = blend(weight[i], v, out_[i][c]);
      }
    }
  }

  /// out [count, head_dim] = sums / weights, rows `stride` elements apart.
  __device__ __forceinline__ void finish(float* out, int64_t stride, int count, int head_dim) {
    YOPO_UNROLL(32)
    for (int i = 0; i < own_rows; ++i) {
      float sum = sum_[i];
      YOPO_UNROLL(32)
      for (int distance = 1; distance < 8; distance *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
      const float share = 1.0f / sum;
      const int row = y() + 16 * i;
      YOPO_UNROLL(32)
      for (int c = 0; c < own_columns; ++c) {
        const int column = 32 * c + 4 * x();
        if (row < count && column < head_dim)
          *reinterpret_cast<float4*>(out + row * stride + column) = blend(share, out_[i][c], make_float4(0, 0, 0, 0));
      }
    }
  }

 private:
  __device__ __forceinline__ static int x() { return int(threadIdx.x) % 8; }
  __device__ __forceinline__ static int y() { return int(threadIdx.x) / 8; }
  __device__ __forceinline__ static float4 blend(float weight, float4 value, float4 to) {
    return make_float4(fmaf(weight, value.x, to.x), fmaf(weight, value.y, to.y), fmaf(weight, value.z, to.z),
                       fmaf(weight, value.w, to.w));
  }

  Shared& shared_;
  AsyncCopies copies_;
  float scale_;          // of scores
  float top_[own_rows];  // largest score of each own row, not scaled
  float sum_[own_rows];  // of weights, own keys only
  float scores_[own_rows][own_keys];
  float4 out_[own_rows][own_columns];
};

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

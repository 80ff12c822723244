// A query tile of 64 rows for 16-bit types: products on tensor cores with fp32 sums, 16 rows a warp, scores and output
// in registers in the layout of mma.m16n8k16: with g = lane / 4, t = lane % 4 a lane has rows g and g + 8 of its warp,
// and in every 8 columns the columns 2 t and 2 t + 1.
#pragma once

#include "runtime/cuda/async_copies.cuh"
#include "runtime/cuda/tensor_core.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// T: __nv_bfloat16 or __half. Dim: columns held, a multiple of 16; those past head_dim are zero. Keys: of a key tile.
template <typename T, int Dim, int Keys>
class MmaTile {
 public:
  using Element = T;
  static constexpr int threads = 128, rows = 64, keys = Keys;
  static constexpr int blocks = Dim > 128 ? 2 : Dim > 64 ? 3 : 4;  // wanted on a multiprocessor; bounds the registers
  // 8 elements past the row: eight rows of 16 bytes then lie in different banks.
  struct Shared {
    alignas(16) T q[rows][Dim + 8];
    alignas(16) T k[keys][Dim + 8];
    alignas(16) T v[keys][Dim + 8];
  };

  __device__ __forceinline__ explicit MmaTile(Shared& shared, int head_dim)
      : shared_(shared), scale_(1.4426950408889634f / sqrtf(float(head_dim))) {
    YOPO_UNROLL(32)
    for (int n = 0; n < Dim / 8; ++n) zero(out_[n]);
  }

  /// The first and last row of the tile that this warp computes.
  __device__ __forceinline__ int first_row() const { return warp() * 16; }
  __device__ __forceinline__ int last_row() const { return warp() * 16 + 15; }

  __device__ __forceinline__ void load_queries(const T* q, int64_t stride, int count, int head_dim) {
    load_rows<threads, rows, Dim>(copies_, shared_.q, q, stride, count, head_dim);
  }
  __device__ __forceinline__ void load_keys(const T* k, int64_t stride, int count, int head_dim) {
    load_rows<threads, keys, Dim>(copies_, shared_.k, k, stride, count, head_dim);
  }
  __device__ __forceinline__ void load_values(const T* v, int64_t stride, int count, int head_dim) {
    load_rows<threads, keys, Dim>(copies_, shared_.v, v, stride, count, head_dim);
  }
  __device__ __forceinline__ void wait() { copies_.wait(); }

  /// scores = q x k^T.
  __device__ __forceinline__ void score() {
    const int l = lane();
    YOPO_UNROLL(32)
    for (int n = 0; n < keys / 8; ++n) zero(scores_[n]);
    YOPO_UNROLL(32)
    for (int d = 0; d < Dim / 16; ++d) {
      uint32_t a[4], b[4];
      load_matrices(a, &shared_.q[warp() * 16 + l % 16][d * 16 + l / 16 * 8]);
      YOPO_UNROLL(32)
      for (int n = 0; n < keys / 16; ++n) {
        load_matrices(b, &shared_.k[n * 16 + l / 16 * 8 + l % 8][d * 16 + l / 8 % 2 * 8]);
        multiply_add<T>(scores_[2 * n], a, b[0], b[1]);
        multiply_add<T>(scores_[2 * n + 1], a, b[2], b[3]);
      }
    }
  }

  /// Takes the pairs out of the softmax for which mask_of(row)(key) is false.
  template <typename MaskOf>
  __device__ __forceinline__ void mask(MaskOf mask_of) {
    YOPO_UNROLL(32)
    for (int half = 0; half < 2; ++half) {
      const auto reads = mask_of(warp() * 16 + lane() / 4 + 8 * half);
      YOPO_UNROLL(32)
      for (int n = 0; n < keys / 8; ++n) {
        const int key = n * 8 + lane() % 4 * 2;
        if (!reads(key)) scores_[n][2 * half] = -INFINITY;
        if (!reads(key + 1)) scores_[n][2 * half + 1] = -INFINITY;
      }
    }
  }

  /// Scores become exp(score - largest so far); what was summed before is scaled to the new largest.
  __device__ __forceinline__ void soften() {
    YOPO_UNROLL(32)
    for (int half = 0; half < 2; ++half) {
      float top = -INFINITY;
      YOPO_UNROLL(32)
      for (int n = 0; n < keys / 8; ++n) top = fmaxf(top, fmaxf(scores_[n][2 * half], scores_[n][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      top = fmaxf(top_[half], top * scale_);
      const float reference = top == -INFINITY ? 0.0f : top;  // a row may have met no key of its own yet
      const float fade = exp2f(top_[half] - reference);
      top_[half] = top;
      sum_[half] *= fade;
      YOPO_UNROLL(32)
      for (int n = 0; n < keys / 8; ++n) {
        float(&weight)[4] = scores_[n];
        weight[2 * half] = exp2f(fmaf(weight[2 * half], scale_, -reference));
        weight[2 * half + 1] = exp2f(fmaf(weight[2 * half + 1], scale_, -reference));
        sum_[half] += weight[2 * half] + weight[2 * half + 1];
      }
      YOPO_UNROLL(32)
      for (int n = 0; n < Dim / 8; ++n) {
        out_[n][2 * half] *= fade;
        out_[n][2 * half + 1] *= fade;
      }
    }
  }

  /// out += weights x v, the weights rounded to T.
  __device__ __forceinline__ void weigh() {
    const int l = lane();
    YOPO_UNROLL(32)
    for (int k = 0; k < keys / 16; ++k) {
      const float(&left)[4] = scores_[2 * k], (&right)[4] = scores_[2 * k + 1];
      const uint32_t a[4] = {pack<T>(left[0], left[1]), pack<T>(left[2], left[3]), pack<T>(right[0], right[1]),
                             pack<T>(right[2], right[3])};
      YOPO_UNROLL(32)
      for (int n = 0; n < Dim / 16; ++n) {
        uint32_t b[4];
        load_matrices_transposed(b, &shared_.v[k * 16 + l % 16][n * 16 + l / 16 * 8]);
        multiply_add<T>(out_[2 * n], a, b[0], b[1]);
        multiply_add<T>(out_[2 * n + 1], a, b[2], b[3]);
      }
    }
  }

  /// out [count, head_dim] = sums / weights, rows `stride` elements apart.
  __device__ __forceinline__ void finish(T* out, int64_t stride, int count, int head_dim) {
    // Through the warp's own query rows, which no other warp reads, so that whole 16 bytes are written.
    __syncwarp();
    YOPO_UNROLL(32)
    for (int half = 0; half < 2; ++half) {
      float sum = sum_[half];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const float share = 1.0f / sum;
      T* row = shared_.q[warp() * 16 + lane() / 4 + 8 * half];
      YOPO_UNROLL(32)
      for (int n = 0; n < Dim / 8; ++n) {
        const uint32_t both = pack<T>(out_[n][2 * half] * share, out_[n][2 * half + 1] * share);
        copy_at_once<4>(row + n * 8 + lane() % 4 * 2, &both);
      }
    }
    __syncwarp();
    for (int i = lane(); i < 16 * (Dim / 8); i += warp_size) {
      const int row = first_row() + i / (Dim / 8), column = i % (Dim / 8) * 8;
      if (row < count && column < head_dim) copy_at_once<16>(out + row * stride + column, &shared_.q[row][column]);
    }
  }

 private:
  __device__ __forceinline__ static int lane() { return int(threadIdx.x) % warp_size; }
  __device__ __forceinline__ static int warp() { return int(threadIdx.x) / warp_size; }
  __device__ __forceinline__ static void zero(float (&values)[4]) {
    YOPO_UNROLL(32)
    for (int i = 0; i < 4; ++i) values[i] = 0.0f;
  }

  Shared& shared_;
  AsyncCopies copies_;
  float scale_;                            // of scores, to powers of two
  float top_[2] = {-INFINITY, -INFINITY};  // largest scaled score of the lane's two rows
  float sum_[2] = {};                      // of weights, this lane's columns only
  float scores_[keys / 8][4];              // then weights
  float out_[Dim / 8][4];
};

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

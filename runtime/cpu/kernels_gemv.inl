// Products of a handful of rows with rows of weights, and with blocks of packed ones. A part of kernels.inl.

/// N weight rows against M activation rows, fp32.
template <int M, int N>
inline void gemv_block(const float* a, int64_t a_stride, const float* w, int64_t k, int64_t w_stride, float* out,
                       int64_t out_stride) {
  Vec sums[M][N] = {};
  int64_t i = 0;
  for (; i + W <= k; i += W) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const Vec weight = load(w + n * w_stride + i);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) sums[m][n] += weight * load(a + m * a_stride + i);
    }
  }
  for (int n = 0; n < N; ++n)
    for (int m = 0; m < M; ++m) {
      float sum = total(sums[m][n]);
      for (int64_t tail = i; tail < k; ++tail) sum += a[m * a_stride + tail] * w[n * w_stride + tail];
      out[m * out_stride + n] = sum;
    }
}
/// The same for bf16 weights: a pair of them is one 32-bit word, whose halves meet the even and odd columns of a.
template <int M, int N>
inline void gemv_block(const float* a, int64_t a_stride, const uint16_t* w, int64_t k, int64_t w_stride, float* out,
                       int64_t out_stride) {
  const int64_t odd = (k + 1) / 2;
  Vec sums[M][N] = {};
  int64_t i = 0;
  for (; i + 2 * W <= k; i += 2 * W) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const BitVec pair = BitVec(*reinterpret_cast<const LooseBitVec*>(w + n * w_stride + i));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
      const Vec low = Vec(pair << 16), high = Vec(pair & 0xffff0000u);
#else
      const Vec high = Vec(pair << 16), low = Vec(pair & 0xffff0000u);
#endif
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
        sums[m][n] += low * load(a + m * a_stride + i / 2) + high * load(a + m * a_stride + odd + i / 2);
    }
  }
  for (int n = 0; n < N; ++n)
    for (int m = 0; m < M; ++m) {
      float sum = total(sums[m][n]);
      for (int64_t tail = i; tail < k; ++tail)
        sum += a[m * a_stride + (tail % 2 ? odd : 0) + tail / 2] * scalar(w[n * w_stride + tail]);
      out[m * out_stride + n] = sum;
    }
}
template <int M, typename T>
void gemv_of(const float* a, int64_t a_stride, const T* w, int64_t n, int64_t k, int64_t w_stride, float* out,
             int64_t out_stride) {
  constexpr int N = M > 2 ? 2 : 4;
  int64_t row = 0;
  for (; row + N <= n; row += N) gemv_block<M, N>(a, a_stride, w + row * w_stride, k, w_stride, out + row, out_stride);
  for (; row < n; ++row) gemv_block<M, 1>(a, a_stride, w + row * w_stride, k, w_stride, out + row, out_stride);
}
template <typename T>
void gemv_rows(const float* a, int64_t m, int64_t a_stride, const T* w, int64_t n, int64_t k, int64_t w_stride,
               float* out, int64_t out_stride) {
  if (m == 1)
    gemv_of<1>(a, a_stride, w, n, k, w_stride, out, out_stride);
  else if (m == 2)
    gemv_of<2>(a, a_stride, w, n, k, w_stride, out, out_stride);
  else if (m == 3)
    gemv_of<3>(a, a_stride, w, n, k, w_stride, out, out_stride);
  else if (m == 4)
    gemv_of<4>(a, a_stride, w, n, k, w_stride, out, out_stride);
}
void gemv(const float* a, int64_t m, int64_t a_stride, const void* w, bool bf16, int64_t n, int64_t k, int64_t w_stride,
          float* out, int64_t out_stride) {
  if (bf16)
    gemv_rows(a, m, a_stride, static_cast<const uint16_t*>(w), n, k, w_stride, out, out_stride);
  else
    gemv_rows(a, m, a_stride, static_cast<const float*>(w), n, k, w_stride, out, out_stride);
}

constexpr int64_t gemv_chain = 256;  // products added one by one: longer sums are sums of these, for fp32's sake
/// One block of packed rows: a column's 64 weights lie together, for bf16 those of two columns in pairs.
template <int M>
inline void gemv_packed_block(const float* a, int64_t a_stride, const float* w, int64_t k, float* out) {
  constexpr int N = 64 / W;
  Vec sums[M][N] = {};
  for (int64_t first = 0; first < k; first += gemv_chain) {
    const int64_t end = first + gemv_chain < k ? first + gemv_chain : k;
    Vec part[M][N] = {};
    for (int64_t i = first; i < end; ++i)
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) {
        const Vec weight = load(w + i * 64 + n * W);
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) part[m][n] += weight * a[m * a_stride + i];
      }
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) sums[m][n] += part[m][n];
  }
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) store(out + m * 64 + n * W, sums[m][n]);
}
template <int M>
inline void gemv_packed_block(const float* a, int64_t a_stride, const uint16_t* w, int64_t k, float* out) {
  constexpr int N = 64 / W;
  Vec sums[M][N] = {};
  for (int64_t first = 0; first < k; first += gemv_chain) {
    const int64_t end = first + gemv_chain < k ? first + gemv_chain : k;
    Vec part[M][N] = {};
    for (int64_t i = first; i < end; i += 2)
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) {
        const BitVec pair = BitVec(*reinterpret_cast<const LooseBitVec*>(w + i * 64 + 2 * n * W));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        const Vec low = Vec(pair << 16), high = Vec(pair & 0xffff0000u);
#else
        const Vec high = Vec(pair << 16), low = Vec(pair & 0xffff0000u);
#endif
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) part[m][n] += low * a[m * a_stride + i] + high * a[m * a_stride + i + 1];
      }
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) sums[m][n] += part[m][n];
  }
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) store(out + m * 64 + n * W, sums[m][n]);
}
template <typename T>
void gemv_packed_rows(const float* a, int64_t m, int64_t a_stride, const T* w, int64_t k, float* out) {
  if (m == 1)
    gemv_packed_block<1>(a, a_stride, w, k, out);
  else if (m == 2)
    gemv_packed_block<2>(a, a_stride, w, k, out);
  else if (m == 3)
    gemv_packed_block<3>(a, a_stride, w, k, out);
  else if (m == 4)
    gemv_packed_block<4>(a, a_stride, w, k, out);
}
void gemv_packed(const float* a, int64_t m, int64_t a_stride, const void* w, bool bf16, int64_t k, float* out) {
  if (bf16)
    gemv_packed_rows(a, m, a_stride, static_cast<const uint16_t*>(w), k, out);
  else
    gemv_packed_rows(a, m, a_stride, static_cast<const float*>(w), k, out);
}

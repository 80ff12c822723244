// The bodies of every instruction set's kernels. The including file sets the target, YOPO_KERNELS (the table's name),
// YOPO_WIDTH (floats a vector) and the register blocks: YOPO_ROWS x YOPO_VECTORS accumulators (of one vector more:
// rows_of_block). Nothing from the standard library here: a template instantiated under a wider target could be the one
// the linker keeps.

namespace yopo::runtime::cpu {
namespace {

constexpr int64_t W = YOPO_WIDTH;
// Memory is not aligned to vectors, hence the element's alignment.
typedef float Vec __attribute__((vector_size(W * 4)));
typedef float LooseVec __attribute__((vector_size(W * 4), aligned(4)));
typedef int32_t IntVec __attribute__((vector_size(W * 4)));
typedef uint32_t BitVec __attribute__((vector_size(W * 4)));
typedef uint32_t LooseBitVec __attribute__((vector_size(W * 4), aligned(2)));
typedef uint16_t HalfVec __attribute__((vector_size(W * 2)));
typedef uint16_t LooseHalfVec __attribute__((vector_size(W * 2), aligned(2)));

// x - 0 is x for every x, so that this is a broadcast and nothing else; 0 + x would be an addition (of -0).
inline Vec splat(float x) { return x - Vec{}; }
inline Vec load(const float* p) { return Vec(*reinterpret_cast<const LooseVec*>(p)); }
inline Vec load(const uint16_t* p) {
  return Vec(__builtin_convertvector(HalfVec(*reinterpret_cast<const LooseHalfVec*>(p)), BitVec) << 16);
}
inline void store(float* p, Vec x) { *reinterpret_cast<LooseVec*>(p) = x; }
/// Rounds to nearest even; NaN stays NaN.
inline void store(uint16_t* p, Vec x) {
  const BitVec bits = BitVec(x);
  const BitVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  // True for NaN alone, which equals nothing. NOLINTNEXTLINE(misc-redundant-expression)
  const BitVec nan = BitVec(x != x);
  *reinterpret_cast<LooseHalfVec*>(p) =
      __builtin_convertvector((rounded & ~nan) | (((bits >> 16) | 0x40u) & nan), HalfVec);
}
#if YOPO_WIDTH == 16
typedef float Vec8 __attribute__((vector_size(32)));
typedef float LooseVec8 __attribute__((vector_size(32), aligned(4)));
inline Vec8 load8(const float* p) { return Vec8(*reinterpret_cast<const LooseVec8*>(p)); }
inline void store8(float* p, Vec8 x) { *reinterpret_cast<LooseVec8*>(p) = x; }
// Of bf16 through whole vectors: half of one is loaded and stored, the rest is zero.
inline Vec8 load8(const uint16_t* p) {
  HalfVec bits{};
  __builtin_memcpy(&bits, p, 16);
  const Vec x = Vec(__builtin_convertvector(bits, BitVec) << 16);
  return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
}
inline void store8(uint16_t* p, Vec8 x) {
  uint16_t rounded[16];
  store(rounded, __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7));
  __builtin_memcpy(p, rounded, 16);
}
#endif
inline float scalar(float x) { return x; }
inline float scalar(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
inline void assign(float& out, float x) { out = x; }
inline void assign(uint16_t& out, float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  out = x != x ? uint16_t((bits >> 16) | 0x40) : uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

template <int64_t N, typename V>
inline float add_lanes(const V& x) {
  float lanes[N];
  __builtin_memcpy(lanes, &x, sizeof lanes);
#pragma GCC unroll 4
  for (int64_t half = N / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
inline float total(Vec x) {
#if YOPO_WIDTH == 16
  typedef float V8 __attribute__((vector_size(32)));
  typedef float V4 __attribute__((vector_size(16)));
  const V8 a = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const V4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
  return add_lanes<4>(b);
#elif YOPO_WIDTH == 8
  typedef float V4 __attribute__((vector_size(16)));
  const V4 b = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
  return add_lanes<4>(b);
#else
  return add_lanes<W>(x);
#endif
}

inline float top_lane(Vec x) {
#if YOPO_WIDTH == 16
  typedef float V8 __attribute__((vector_size(32)));
  typedef float V4 __attribute__((vector_size(16)));
  const V8 a = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7),
           b = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const V8 c = a > b ? a : b;
  const V4 d = __builtin_shufflevector(c, c, 0, 1, 2, 3), e = __builtin_shufflevector(c, c, 4, 5, 6, 7);
  const V4 top = d > e ? d : e;
  constexpr int64_t left = 4;
#else
  const Vec top = x;
  constexpr int64_t left = W;
#endif
  float best = top[0];
  for (int64_t lane = 1; lane < left; ++lane) best = top[lane] > best ? top[lane] : best;
  return best;
}

/// exp to 1 ulp or two: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' expf coefficients); 0 below -87.3,
/// NaN stays NaN: every comparison with it is false, and the polynomial keeps it.
inline Vec exponential(Vec x) {
  const Vec least = splat(-87.3f), most = splat(88.0f);
  const Vec low = x < least ? least : x;
  const Vec clamped = low > most ? most : low;
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = clamped * 1.44269504088896341f + magic;
  const Vec n = shifted - magic;
  Vec r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const IntVec exponent = (IntVec(shifted) - IntVec(magic) + 127) << 23;
  const Vec result = p * Vec(exponent);
  return x < least ? Vec{} : result;
}

inline float exponential(float x) {
  float lanes[W];
  store(lanes, exponential(splat(x)));
  return lanes[0];
}

#if YOPO_WIDTH == 16
/// Swaps the blocks of S x S beside the diagonal of every block of 2 S x 2 S.
template <int S>
inline void swap_blocks(Vec* rows) {
#define YOPO_LOW(lane) ((lane)&S ? W + (lane)-S : (lane))
#define YOPO_HIGH(lane) ((lane)&S ? W + (lane) : (lane) + S)
#define YOPO_LANES(of) \
  of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7), of(8), of(9), of(10), of(11), of(12), of(13), of(14), of(15)
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) {
    if (i & S) continue;
    const Vec a = rows[i], b = rows[i + S];
    rows[i] = __builtin_shufflevector(a, b, YOPO_LANES(YOPO_LOW));
    rows[i + S] = __builtin_shufflevector(a, b, YOPO_LANES(YOPO_HIGH));
  }
#undef YOPO_LOW
#undef YOPO_HIGH
#undef YOPO_LANES
}
/// packed [W][W] = the transpose of W rows of W numbers.
template <typename T>
inline void transpose(const T* rows, int64_t stride, float* packed) {
  Vec x[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) x[i] = load(rows + i * stride);
  swap_blocks<1>(x);
  swap_blocks<2>(x);
  swap_blocks<4>(x);
  swap_blocks<8>(x);
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) store(packed + i * W, x[i]);
}
#endif

template <typename T>
void pack_keys_of(const T* keys, int64_t count, int64_t dim, int64_t stride, float* packed) {
  for (int64_t first = 0; first < count; first += W, packed += dim * W) {
    const int64_t here = count - first < W ? count - first : W;
    const T* rows = keys + first * stride;
    if (here < W) {
      for (int64_t i = 0; i < dim * W; ++i) packed[i] = 0;
    }
    int64_t d = 0;
#if YOPO_WIDTH == 16
    if (here == W)
      for (; d + W <= dim; d += W) transpose(rows + d, stride, packed + d * W);
#endif
    for (; d < dim; ++d)
      for (int64_t j = 0; j < here; ++j) packed[d * W + j] = scalar(rows[j * stride + d]);
  }
}
void pack_keys(const void* keys, bool bf16, int64_t count, int64_t dim, int64_t stride, float* packed) {
  if (bf16)
    pack_keys_of(static_cast<const uint16_t*>(keys), count, dim, stride, packed);
  else
    pack_keys_of(static_cast<const float*>(keys), count, dim, stride, packed);
}

template <typename T>
void widen_of(const T* in, int64_t rows, int64_t dim, int64_t stride, float scale, float* out, int64_t out_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    int64_t d = 0;
    for (; d + W <= dim; d += W) store(out + r * out_stride + d, load(in + r * stride + d) * scale);
    for (; d < dim; ++d) out[r * out_stride + d] = scalar(in[r * stride + d]) * scale;
  }
}
void widen(const void* in, bool bf16, int64_t rows, int64_t dim, int64_t stride, float scale, float* out,
           int64_t out_stride) {
  if (bf16)
    widen_of(static_cast<const uint16_t*>(in), rows, dim, stride, scale, out, out_stride);
  else
    widen_of(static_cast<const float*>(in), rows, dim, stride, scale, out, out_stride);
}

/// What is left of the rows behind whole blocks, as one block of just as many.
template <int R, typename Block>
inline void over_rest(int64_t rest, Block block) {
  if constexpr (R > 0) {
    if (rest == R)
      block.template operator()<R>();
    else
      over_rest<R - 1>(rest, block);
  }
}

/// Rows of a block that is V vectors wide. Of one vector the wide set, with its 32 registers, takes more: few sums wait
/// for one another. (Every loop over a block's rows is unrolled whole; rolled, it would keep the sums in memory.)
template <int V>
constexpr int rows_of_block = V == 1 && W == 16 ? 16 : YOPO_ROWS;

/// R rows x V tiles of keys.
template <int R, int V>
inline void score_block(const float* q, int64_t dim, int64_t q_stride, const float* packed, float* out,
                        int64_t out_stride) {
  Vec sums[R][V] = {};
  for (int64_t d = 0; d < dim; ++d) {
    Vec keys[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) keys[v] = load(packed + (v * dim + d) * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec value = splat(q[r * q_stride + d]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[r][v] += value * keys[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + r * out_stride + v * W, sums[r][v]);
}
template <int V>
inline void score_rows(const float* q, int64_t rows, int64_t dim, int64_t q_stride, const float* packed, float* out,
                       int64_t out_stride) {
  constexpr int B = rows_of_block<V>;
  int64_t r = 0;
  for (; r + B <= rows; r += B)
    score_block<B, V>(q + r * q_stride, dim, q_stride, packed, out + r * out_stride, out_stride);
  over_rest<B - 1>(rows - r, [&]<int R>() {
    score_block<R, V>(q + r * q_stride, dim, q_stride, packed, out + r * out_stride, out_stride);
  });
}
void scores(const float* q, int64_t rows, int64_t dim, int64_t q_stride, const float* packed, int64_t keys, float* out,
            int64_t out_stride) {
  int64_t key = 0;
  for (; key + YOPO_VECTORS * W <= keys; key += YOPO_VECTORS * W)
    score_rows<YOPO_VECTORS>(q, rows, dim, q_stride, packed + key * dim, out + key, out_stride);
  for (; key < keys; key += W) score_rows<1>(q, rows, dim, q_stride, packed + key * dim, out + key, out_stride);
}

template <int R, int V>
inline void weigh_block(const float* p, int64_t keys, int64_t p_stride, const float* values, int64_t dim, float* out,
                        int64_t out_stride) {
  Vec sums[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[r][v] = load(out + r * out_stride + v * W);
  for (int64_t key = 0; key < keys; ++key) {
    Vec rows[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) rows[v] = load(values + key * dim + v * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec weight = splat(p[r * p_stride + key]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[r][v] += weight * rows[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + r * out_stride + v * W, sums[r][v]);
}
template <int V>
inline void weigh_rows(const float* p, int64_t rows, int64_t keys, int64_t p_stride, const float* values, int64_t dim,
                       float* out, int64_t out_stride) {
  constexpr int B = rows_of_block<V>;
  int64_t r = 0;
  for (; r + B <= rows; r += B)
    weigh_block<B, V>(p + r * p_stride, keys, p_stride, values, dim, out + r * out_stride, out_stride);
  over_rest<B - 1>(rows - r, [&]<int R>() {
    weigh_block<R, V>(p + r * p_stride, keys, p_stride, values, dim, out + r * out_stride, out_stride);
  });
}
void weigh(const float* p, int64_t rows, int64_t keys, int64_t p_stride, const float* values, int64_t dim, float* out,
           int64_t out_stride) {
  // Values in slices that stay in the first-level cache while all rows pass over them.
  const int64_t slice = 8192 / dim > 64 ? 8192 / dim : 64;
  for (int64_t first = 0; first < keys; first += slice) {
    const int64_t here = keys - first < slice ? keys - first : slice;
    const float* slab = values + first * dim;
    int64_t d = 0;
    for (; d + YOPO_VECTORS * W <= dim; d += YOPO_VECTORS * W)
      weigh_rows<YOPO_VECTORS>(p + first, rows, here, p_stride, slab + d, dim, out + d, out_stride);
    for (; d < dim; d += W) weigh_rows<1>(p + first, rows, here, p_stride, slab + d, dim, out + d, out_stride);
  }
}

float largest(const float* x, int64_t count) {
  float best = -__builtin_inff();
  int64_t i = 0;
  if (count >= W) {
    Vec top = splat(best), other = top;
    for (; i + 2 * W <= count; i += 2 * W) {
      const Vec a = load(x + i), b = load(x + i + W);
      top = a > top ? a : top;
      other = b > other ? b : other;
    }
    if (i + W <= count) {
      const Vec a = load(x + i);
      top = a > top ? a : top;
      i += W;
    }
    best = top_lane(top > other ? top : other);
  }
  for (; i < count; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

float exponentials(float* x, int64_t count, float shift) {
  Vec sums{};
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    const Vec e = exponential(load(x + i) - shift);
    store(x + i, e);
    sums += e;
  }
  float rest = 0;
  if (i < count) {
    float lanes[W] = {};
    for (int64_t j = i; j < count; ++j) lanes[j - i] = x[j] - shift;
    store(lanes, exponential(load(lanes)));
    for (int64_t j = i; j < count; ++j) rest += x[j] = lanes[j - i];
  }
  return total(sums) + rest;
}

inline IntVec lane_numbers() {
  IntVec lanes{};
#pragma GCC unroll 16
  for (int lane = 0; lane < W; ++lane) lanes[lane] = lane;
  return lanes;
}

/// Calls visit(row, place, scores) for every vector of R rows up to the longest's end; scores past a row's own are
/// -inf.
template <int R, typename Visit>
inline void over_keys(float* scores, int64_t stride, const int64_t* limit, Visit visit) {
  const int64_t whole = limit[0] / W, vectors = (limit[R - 1] + W - 1) / W;
  for (int64_t i = 0; i < whole; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) visit(r, scores + r * stride + i * W, load(scores + r * stride + i * W));
  const IntVec lanes = lane_numbers();
  for (int64_t i = whole; i < vectors; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec own = load(scores + r * stride + i * W);
      visit(r, scores + r * stride + i * W, lanes < int32_t(limit[r] - i * W) ? own : splat(-__builtin_inff()));
    }
}
inline void clear_from(float* scores, int64_t limit, int64_t end) {
  for (int64_t i = (limit + W - 1) / W * W; i < end; i += W) store(scores + i, Vec{});
}
template <int R>
inline void softmax_rows(float* scores, int64_t stride, const int64_t* first, int64_t at, const int64_t* second,
                         float* sums) {
  Vec top[R], sum[R] = {};
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) top[r] = splat(-__builtin_inff());
  const auto see = [&](int r, float*, Vec x) { top[r] = x > top[r] ? x : top[r]; };
  over_keys<R>(scores, stride, first, see);
  over_keys<R>(scores + at, stride, second, see);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) top[r] = splat(top_lane(top[r]));
  const auto weigh = [&](int r, float* to, Vec x) {
    const Vec e = exponential(x - top[r]);
    store(to, e);
    sum[r] += e;
  };
  over_keys<R>(scores, stride, first, weigh);
  over_keys<R>(scores + at, stride, second, weigh);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    sums[r] = total(sum[r]);
    clear_from(scores + r * stride, first[R - 1], at);
    clear_from(scores + r * stride + at, second[R - 1], stride - at);
  }
}
void softmax(float* scores, int64_t rows, int64_t stride, const int64_t* first, int64_t at, const int64_t* second,
             float* sums) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) softmax_rows<4>(scores + r * stride, stride, first + r, at, second + r, sums + r);
  for (; r < rows; ++r) softmax_rows<1>(scores + r * stride, stride, first + r, at, second + r, sums + r);
}

#if YOPO_WIDTH == 16
/// Neighbouring lanes added: a's in the even lanes, b's in the odd ones.
inline Vec add_neighbours(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
         __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}
#endif
/// out [4] = the sums of four vectors.
inline void totals(const Vec (&x)[4], float* out) {
#if YOPO_WIDTH == 16
  typedef float V8 __attribute__((vector_size(32)));
  typedef float V4 __attribute__((vector_size(16)));
  const Vec a = add_neighbours(x[0], x[1]), b = add_neighbours(x[2], x[3]);
  const Vec c = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  const V8 d = __builtin_shufflevector(c, c, 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(c, c, 8, 9, 10, 11, 12, 13, 14, 15);
  const V4 e = __builtin_shufflevector(d, d, 0, 1, 2, 3) + __builtin_shufflevector(d, d, 4, 5, 6, 7);
  __builtin_memcpy(out, &e, sizeof e);
#else
  for (int i = 0; i < 4; ++i) out[i] = total(x[i]);
#endif
}

template <int R, typename T>
inline void dot_rows(const float* q, const T* keys, int64_t dim, int64_t stride, float* out) {
  Vec sums[R] = {};
  int64_t d = 0;
  for (; d + W <= dim; d += W) {
    const Vec value = load(q + d);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] += value * load(keys + r * stride + d);
  }
  if constexpr (R == 4)
    totals(sums, out);
  else
    out[0] = total(sums[0]);
  for (; d < dim; ++d)
    for (int r = 0; r < R; ++r) out[r] += q[d] * scalar(keys[r * stride + d]);
}
template <typename T>
void dots_of(const float* q, const T* keys, int64_t count, int64_t dim, int64_t stride, float* out) {
  int64_t key = 0;
  for (; key + 4 <= count; key += 4) dot_rows<4>(q, keys + key * stride, dim, stride, out + key);
  for (; key < count; ++key) dot_rows<1>(q, keys + key * stride, dim, stride, out + key);
}
void dots(const float* q, const void* keys, bool bf16, int64_t count, int64_t dim, int64_t stride, float* out) {
  if (bf16)
    dots_of(q, static_cast<const uint16_t*>(keys), count, dim, stride, out);
  else
    dots_of(q, static_cast<const float*>(keys), count, dim, stride, out);
}

template <typename T>
void blend_of(const float* p, const T* values, int64_t count, int64_t dim, int64_t stride, float* out) {
  constexpr int V = 4;
  int64_t d = 0;
  for (; d + V * W <= dim; d += V * W) {
    Vec sums[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v] = load(out + d + v * W);
    for (int64_t key = 0; key < count; ++key) {
      const Vec weight = splat(p[key]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[v] += weight * load(values + key * stride + d + v * W);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + d + v * W, sums[v]);
  }
  for (; d + W <= dim; d += W) {
    Vec sum = load(out + d);
    for (int64_t key = 0; key < count; ++key) sum += splat(p[key]) * load(values + key * stride + d);
    store(out + d, sum);
  }
  for (; d < dim; ++d)
    for (int64_t key = 0; key < count; ++key) out[d] += p[key] * scalar(values[key * stride + d]);
}
void blend(const float* p, const void* values, bool bf16, int64_t count, int64_t dim, int64_t stride, float* out) {
  if (bf16)
    blend_of(p, static_cast<const uint16_t*>(values), count, dim, stride, out);
  else
    blend_of(p, static_cast<const float*>(values), count, dim, stride, out);
}

template <typename T>
void narrow_to(const float* x, int64_t dim, float scale, T* out) {
  int64_t d = 0;
  for (; d + W <= dim; d += W) store(out + d, load(x + d) * scale);
  for (; d < dim; ++d) assign(out[d], x[d] * scale);
}
void narrow(const float* x, int64_t dim, float scale, bool bf16, void* out) {
  if (bf16)
    narrow_to(x, dim, scale, static_cast<uint16_t*>(out));
  else
    narrow_to(x, dim, scale, static_cast<float*>(out));
}

#include "runtime/cpu/kernels_gemv.inl"

float square_sum(const float* x, int64_t count, float mean) {
  Vec sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * W <= count; i += 2 * W) {
    const Vec a = load(x + i) - mean, b = load(x + i + W) - mean;
    sums[0] += a * a;
    sums[1] += b * b;
  }
  float sum = total(sums[0] + sums[1]);
  for (; i < count; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return sum;
}
float sum(const float* x, int64_t count) {
  Vec sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * W <= count; i += 2 * W) {
    sums[0] += load(x + i);
    sums[1] += load(x + i + W);
  }
  float result = total(sums[0] + sums[1]);
  for (; i < count; ++i) result += x[i];
  return result;
}
template <typename T>
void normalise_to(const float* x, float mean, float scale, const float* weight, const float* bias, int64_t count,
                  T* out) {
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    Vec y = (load(x + i) - mean) * scale * load(weight + i);
    if (bias) y += load(bias + i);
    store(out + i, y);
  }
  for (; i < count; ++i) assign(out[i], (x[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0.0f));
}
void normalise(const float* x, float mean, float scale, const float* weight, const float* bias, int64_t count,
               bool bf16, void* out) {
  if (bf16)
    normalise_to(x, mean, scale, weight, bias, count, static_cast<uint16_t*>(out));
  else
    normalise_to(x, mean, scale, weight, bias, count, static_cast<float*>(out));
}

template <typename T>
void gated_of(const T* gate, const T* up, int64_t count, T* out) {
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    const Vec g = load(gate + i);
    store(out + i, g / (1.0f + exponential(-g)) * load(up + i));
  }
  for (; i < count; ++i) {
    const float g = scalar(gate[i]);
    assign(out[i], g / (1.0f + exponential(-g)) * scalar(up[i]));
  }
}
void gated(const void* gate, const void* up, bool bf16, int64_t count, void* out) {
  if (bf16)
    gated_of(static_cast<const uint16_t*>(gate), static_cast<const uint16_t*>(up), count, static_cast<uint16_t*>(out));
  else
    gated_of(static_cast<const float*>(gate), static_cast<const float*>(up), count, static_cast<float*>(out));
}

template <typename T>
void rotate_of(const T* in, int64_t half, const float* cos, const float* sin, T* out) {
  int64_t i = 0;
  for (; i + W <= half; i += W) {
    const Vec a = load(in + i), b = load(in + half + i), c = load(cos + i), s = load(sin + i);
    store(out + i, a * c - b * s);
    store(out + half + i, b * c + a * s);
  }
#if YOPO_WIDTH == 16
  // Small heads: half a vector.
  for (; i + 8 <= half; i += 8) {
    const Vec8 a = load8(in + i), b = load8(in + half + i), c = load8(cos + i), s = load8(sin + i);
    store8(out + i, a * c - b * s);
    store8(out + half + i, b * c + a * s);
  }
#endif
  for (; i < half; ++i) {
    const float a = scalar(in[i]), b = scalar(in[half + i]);
    assign(out[i], a * cos[i] - b * sin[i]);
    assign(out[half + i], b * cos[i] + a * sin[i]);
  }
}
void rotate(const void* in, bool bf16, int64_t half, const float* cos, const float* sin, void* out) {
  if (bf16)
    rotate_of(static_cast<const uint16_t*>(in), half, cos, sin, static_cast<uint16_t*>(out));
  else
    rotate_of(static_cast<const float*>(in), half, cos, sin, static_cast<float*>(out));
}

}  // namespace

extern const Kernels YOPO_KERNELS;
const Kernels YOPO_KERNELS = {YOPO_NAME,    W,     pack_keys, widen,  scores, weigh,       softmax,    largest,
                              exponentials, dots,  blend,     narrow, gemv,   gemv_packed, square_sum, sum,
                              normalise,    gated, rotate};

}  // namespace yopo::runtime::cpu

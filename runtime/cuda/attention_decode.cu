// Attention of one new row per request over the pruned KV cache: all text keys, and in kept heads all visual keys. The
// keys of a request are cut into splits so that few requests still fill the device; each split keeps an online softmax,
// and a second kernel adds them up. A step's length is read from device memory, so that a recorded step can be
// replayed: what the host decides (grid, splits) rests on the segments' room alone.
#include <cmath>

#include "runtime/cuda/kernels.h"
#include "runtime/cuda/types.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

constexpr int block_threads = 128, block_warps = block_threads / warp_threads;
constexpr int row_piece = 8;  // elements of a key or value row that a thread reads
constexpr int max_head_dim = row_piece * warp_threads;
constexpr int max_shared_heads = 8;  // query heads that read a KV head's keys together
constexpr int64_t split_keys = 64;   // fewer keys in a split cost more to add up than they save
constexpr int64_t max_splits = 64;

struct Keys {
  const void *keys, *values;  // [heads][stride][head_dim]
  int64_t stride;
};
struct Request {
  Keys text, visual;
  int64_t visual_heads, visual_count;
};
constexpr int requests_a_launch = 32;
struct Requests {
  Request at[requests_a_launch];
};

struct Call {
  const void* q;  // [requests] rows of heads
  void* out;      // [requests] rows of heads
  HeadPlaces q_places, out_places;
  const uint8_t* kept;    // [heads]
  const int32_t* counts;  // [requests]
  unsigned long long* pairs;
  float* tops;   // [requests, heads, splits] a split's largest score
  float* sums;   // [requests, heads, splits] its sum of 2^(score - top)
  float* mixes;  // [requests, heads, splits, head_dim] its sum of 2^(score - top) value
  int heads, group, batches, batch_heads, head_dim, splits;
};

/// The first element of head `head` of request `request`.
__device__ inline int64_t element_of(const HeadPlaces& places, int64_t request, int64_t head, int64_t head_dim) {
  return request * places.stride + (places.column ? places.column[head] : head * head_dim);
}

/// 2^(score - top) for scores up to `top`; -inf weighs nothing, also where nothing has been read yet and top is -inf.
/// NaN stays.
__device__ inline float weight_of(float score, float top) { return exp2f(score - (top == -INFINITY ? 0.0f : top)); }

/// The online softmax of G heads: this thread's piece of each head's sum of values.
template <int G>
struct Mixture {
  float top[G], sum[G], mix[G][row_piece];
};

/// Reads keys [first, last) of one KV head for the heads in `mask`. `across` neighbouring threads share a key, each
/// with its piece of the row (`piece` elements in); the block's groups of threads take keys in turn.
template <typename T, int G>
__device__ void read_keys(const float (&q)[G][row_piece], const T* keys, const T* values, int64_t first, int64_t last,
                          unsigned mask, int across, int64_t piece, int64_t head_dim, Mixture<G>& state) {
  using Piece = Pack<T, row_piece>;
  constexpr int N = sizeof(T) == 4 || G > 4 ? 2 : 4;  // keys in flight: what registers allow
  const int64_t takers = block_threads / across, taker = int(threadIdx.x) / across;
  for (int64_t base = first; base < last; base += takers * N) {
    Piece key[N], value[N];
#pragma unroll
    for (int n = 0; n < N; ++n) {
      // Past the end the last row is read again and weighs nothing: cheaper than a branch.
      const int64_t row = min(base + n * takers + taker, last - 1) * head_dim + piece;
      key[n] = *reinterpret_cast<const Piece*>(keys + row);
      value[n] = *reinterpret_cast<const Piece*>(values + row);
    }
    float score[G][N];
#pragma unroll
    for (int g = 0; g < G; ++g)
#pragma unroll
      for (int n = 0; n < N; ++n) {
        score[g][n] = 0;
#pragma unroll
        for (int i = 0; i < row_piece; ++i) score[g][n] += q[g][i] * widen(key[n].at[i]);
      }
    for (int apart = across / 2; apart > 0; apart /= 2)
#pragma unroll
      for (int g = 0; g < G; ++g)
#pragma unroll
        for (int n = 0; n < N; ++n) score[g][n] += __shfl_xor_sync(whole_warp, score[g][n], apart);

#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (!(mask >> g & 1)) continue;  // the same for the whole block
      float top = state.top[g];
#pragma unroll
      for (int n = 0; n < N; ++n) {
        if (base + n * takers + taker >= last) score[g][n] = -INFINITY;
        top = fmaxf(top, score[g][n]);
      }
      const float before = weight_of(state.top[g], top);
      state.top[g] = top;
      state.sum[g] *= before;
#pragma unroll
      for (int i = 0; i < row_piece; ++i) state.mix[g][i] *= before;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float weight = weight_of(score[g][n], top);
        state.sum[g] += weight;
#pragma unroll
        for (int i = 0; i < row_piece; ++i) state.mix[g][i] += weight * widen(value[n].at[i]);
      }
    }
  }
}

/// Adds up the mixtures of a warp's groups of `across` threads; all groups get the result.
template <int G>
__device__ void merge_in_warp(int across, Mixture<G>& state) {
  for (int apart = across; apart < warp_threads; apart *= 2)
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const float other = __shfl_xor_sync(whole_warp, state.top[g], apart), top = fmaxf(state.top[g], other);
      const float mine = weight_of(state.top[g], top), theirs = weight_of(other, top);
      state.top[g] = top;
      state.sum[g] = state.sum[g] * mine + __shfl_xor_sync(whole_warp, state.sum[g], apart) * theirs;
#pragma unroll
      for (int i = 0; i < row_piece; ++i)
        state.mix[g][i] = state.mix[g][i] * mine + __shfl_xor_sync(whole_warp, state.mix[g][i], apart) * theirs;
    }
}

/// Grid: splits x (KV heads * batches of query heads) x requests.
template <typename T, int G>
__global__ void __launch_bounds__(block_threads, G <= 2 ? 4 : 2) attend(const Requests requests, const Call call) {
  const Request& request = requests.at[blockIdx.z];
  const int64_t kv_head = int(blockIdx.y) / call.batches, head_dim = call.head_dim, split = blockIdx.x;
  const int first_in_group = int(blockIdx.y) % call.batches * call.batch_heads;
  const int heads = min(call.batch_heads, call.group - first_in_group);
  const int64_t first_own = kv_head * call.group + first_in_group;
  const int64_t first_head = int64_t(blockIdx.z) * call.heads + first_own;  // of all requests'

  unsigned kept = 0;
  int kept_heads = 0;
  if (kv_head < request.visual_heads && request.visual_count > 0)
    for (int g = 0; g < heads; ++g)
      if (call.kept[kv_head * call.group + first_in_group + g]) kept |= 1u << g, ++kept_heads;

  // The text keys and then the visual keys, if any head reads them, in equal shares. Never past the segment's room,
  // which the engine checks before it issues a step.
  const int64_t text = min(int64_t(call.counts[blockIdx.z]) + 1, request.text.stride);
  const int64_t total = text + (kept ? request.visual_count : 0);
  const int64_t share = max((total + call.splits - 1) / call.splits, split_keys);
  const int64_t first = min(split * share, total), last = min(first + share, total);
  if (split == 0 && threadIdx.x == 0)
    atomicAdd(call.pairs, static_cast<unsigned long long>(heads * text + kept_heads * request.visual_count));
  if (first >= last && call.splits > 1) {
    for (int g = int(threadIdx.x); g < heads; g += block_threads) {
      call.tops[(first_head + g) * call.splits + split] = -INFINITY;
      call.sums[(first_head + g) * call.splits + split] = 0;
    }
    return;
  }

  int across = 1;
  while (across * row_piece < head_dim) across *= 2;
  const int lane = int(threadIdx.x) % warp_threads, warp = int(threadIdx.x) / warp_threads;
  const int64_t own_piece = int64_t(lane % across) * row_piece;
  const bool in_row = own_piece < head_dim;
  const int64_t piece = in_row ? own_piece : 0;  // a thread past the row reads along, with a query of zeros
  float q[G][row_piece];
  Mixture<G> state;
  // Scores in units of log 2, so that the softmax needs powers of two only.
  const float scale = 1.44269504088896341f / sqrtf(float(head_dim));
#pragma unroll
  for (int g = 0; g < G; ++g) {
    state.top[g] = -INFINITY;
    state.sum[g] = 0;
#pragma unroll
    for (int i = 0; i < row_piece; ++i) {
      state.mix[g][i] = 0;
      q[g][i] =
          in_row && g < heads
              ? widen(static_cast<const T*>(
                    call.q)[element_of(call.q_places, int64_t(blockIdx.z), first_own + g, head_dim) + piece + i]) *
                    scale
              : 0;
    }
  }
  const auto read = [&](const Keys& segment, int64_t from, int64_t to, unsigned mask) {
    const int64_t at = kv_head * segment.stride * head_dim;
    read_keys<T, G>(q, static_cast<const T*>(segment.keys) + at, static_cast<const T*>(segment.values) + at, from, to,
                    mask, across, piece, head_dim, state);
  };
  read(request.text, first, min(last, text), (1u << heads) - 1);
  if (kept) read(request.visual, max(first - text, int64_t(0)), last - text, kept);
  merge_in_warp<G>(across, state);

  YOPO_DYNAMIC_SHARED(shared);
  float* tops = reinterpret_cast<float*>(shared);  // [warps, batch_heads]
  float* sums = tops + block_warps * call.batch_heads;
  float* mixes = sums + block_warps * call.batch_heads;  // [warps, batch_heads, head_dim]
#pragma unroll
  for (int g = 0; g < G; ++g) {
    if (g >= heads || lane >= across || !in_row) continue;
    const int64_t slot = warp * call.batch_heads + g;
    if (lane == 0) tops[slot] = state.top[g], sums[slot] = state.sum[g];
#pragma unroll
    for (int i = 0; i < row_piece; ++i) mixes[slot * head_dim + piece + i] = state.mix[g][i];
  }
  __syncthreads();
  for (int64_t item = threadIdx.x; item < heads * head_dim; item += block_threads) {
    const int64_t g = item / head_dim, column = item % head_dim, head = first_head + g;
    float top = -INFINITY, sum = 0, mix = 0;
    for (int w = 0; w < block_warps; ++w) top = fmaxf(top, tops[w * call.batch_heads + g]);
    for (int w = 0; w < block_warps; ++w) {
      const int64_t slot = w * call.batch_heads + g;
      const float weight = weight_of(tops[slot], top);
      sum += weight * sums[slot];
      mix += weight * mixes[slot * head_dim + column];
    }
    if (call.splits == 1) {
      const int64_t at = element_of(call.out_places, int64_t(blockIdx.z), first_own + g, head_dim);
      static_cast<T*>(call.out)[at + column] = narrow<T>(mix / sum);
    } else {
      const int64_t slot = head * call.splits + split;
      call.mixes[slot * head_dim + column] = mix;
      if (column == 0) call.tops[slot] = top, call.sums[slot] = sum;
    }
  }
}

/// Adds up the splits. Grid: heads x requests; a thread a column.
template <typename T>
__global__ void combine(const Call call) {
  const int64_t head = int64_t(blockIdx.y) * call.heads + blockIdx.x, first = head * call.splits;
  const int64_t column = threadIdx.x, head_dim = call.head_dim;
  if (column >= head_dim) return;
  float top = -INFINITY, sum = 0, mix = 0;
  for (int s = 0; s < call.splits; ++s) top = fmaxf(top, call.tops[first + s]);
  for (int s = 0; s < call.splits; ++s) {
    if (call.sums[first + s] == 0) continue;  // read nothing, and may have written no mix
    const float weight = weight_of(call.tops[first + s], top);
    sum += weight * call.sums[first + s];
    mix += weight * call.mixes[(first + s) * head_dim + column];
  }
  static_cast<T*>(call.out)[element_of(call.out_places, int64_t(blockIdx.y), int64_t(blockIdx.x), head_dim) + column] =
      narrow<T>(mix / sum);
}

template <typename T>
auto kernel_for(int heads) {
  switch (heads) {  // the group sizes of the models there are; others run in the next larger one
    case 1:
      return attend<T, 1>;
    case 2:
      return attend<T, 2>;
    case 3:
    case 4:
      return attend<T, 4>;
    case 5:
    case 6:
      return attend<T, 6>;
    case 7:
      return attend<T, 7>;
    default:
      return attend<T, 8>;
  }
}

/// How many splits keep the device busy: two waves of four blocks a multiprocessor.
int64_t splits_for(int64_t blocks, int64_t room) {
  const int64_t wanted = (int64_t(device().multiprocessors) * 8 + blocks - 1) / blocks;
  return std::clamp<int64_t>(std::min(wanted, (room + split_keys - 1) / split_keys), 1, max_splits);
}

}  // namespace

void decode_attention(const DecodeAttention& work) {
  if (work.requests.empty() || work.heads <= 0) return;
  ensure(work.kv_heads > 0 && work.heads % work.kv_heads == 0, "query heads come in whole groups");
  ensure(work.head_dim > 0 && work.head_dim % row_piece == 0 && work.head_dim <= max_head_dim,
         "CUDA decode attention takes a head_dim that is a multiple of 8 up to 256");
  Call call = {};
  call.kept = work.kept;
  call.q_places = work.q_places, call.out_places = work.out_places;
  call.pairs = reinterpret_cast<unsigned long long*>(work.pairs);
  call.heads = int(work.heads), call.group = int(work.heads / work.kv_heads), call.head_dim = int(work.head_dim);
  call.batches = (call.group + max_shared_heads - 1) / max_shared_heads;
  call.batch_heads = (call.group + call.batches - 1) / call.batches;
  const int64_t blocks = work.kv_heads * call.batches,
                most = std::min<int64_t>(requests_a_launch, int64_t(work.requests.size()));
  ensure(blocks <= grid_yz_limit, "more heads than a launch takes");

  int64_t room = 0;
  for (const DecodeRequest& request : work.requests) room = std::max(room, request.text.stride + request.visual.count);
  const int64_t splits = splits_for(blocks * most, room), slots = most * work.heads * splits;
  call.splits = int(splits);
  if (splits > 1) {
    // Launches follow one another on the stream, so that all can use the same scratch.
    call.mixes = static_cast<float*>(scratch(size_t(slots * (work.head_dim + 2)) * sizeof(float)));
    call.tops = call.mixes + slots * work.head_dim;
    call.sums = call.tops + slots;
  }
  const size_t shared = size_t(block_warps) * size_t(call.batch_heads) * size_t(work.head_dim + 2) * sizeof(float);
  for (size_t first = 0; first < work.requests.size(); first += requests_a_launch) {
    const auto here = work.requests.subspan(first, std::min<size_t>(requests_a_launch, work.requests.size() - first));
    Requests chunk = {};
    for (size_t i = 0; i < here.size(); ++i) {
      const KvSegment &text = here[i].text, &visual = here[i].visual;
      ensure(vectors_at({text.keys, text.values, visual.keys, visual.values}),
             "KV segments start at multiples of 16 bytes");
      ensure(visual.count <= visual.stride || visual.heads == 0, "KV rows past their segment");
      chunk.at[i] = {{text.keys, text.values, text.stride},
                     {visual.keys, visual.values, visual.stride},
                     visual.heads,
                     visual.count};
    }
    call.q = offset(work.q, work.type, int64_t(first) * work.q_places.stride);
    call.out = offset(work.out, work.type, int64_t(first) * work.out_places.stride);
    call.counts = work.counts + first;
    with_element(work.type, [&](auto element) {
      using T = decltype(element);
      launch(kernel_for<T>(call.batch_heads), dim3(unsigned(splits), unsigned(blocks), unsigned(here.size())),
             dim3(block_threads), shared, chunk, call);
      if (splits > 1)
        launch(combine<T>, dim3(unsigned(work.heads), unsigned(here.size())), dim3(unsigned(work.head_dim)), 0, call);
    });
  }
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

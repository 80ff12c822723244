#include "runtime/cuda/attention_tile.cuh"
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/launch.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

template <class Tile>
class GroupKeys {
 public:
  using Element = typename Tile::Element;

  __device__ GroupKeys(const Element* keys, const Element* values, int64_t stride, int rows)
      : keys_(keys), values_(values), stride_(stride), rows_(rows) {}

  __device__ __forceinline__ int count() const { return min(Tile::keys, rows_ - at_); }
  __device__ __forceinline__ void advance() { at_ += Tile::keys; }
  __device__ __forceinline__ const Element* keys() const { return keys_ + at_ * stride_; }
  __device__ __forceinline__ const Element* values() const { return values_ + at_ * stride_; }
  __device__ __forceinline__ int64_t stride() const { return stride_; }
  __device__ __forceinline__ void prepare() const {}
  __device__ __forceinline__ bool whole() const { return count() == Tile::keys; }
  __device__ __forceinline__ bool reads(int, int) const { return true; }
  __device__ __forceinline__ auto mask(int) const {
    return [end = count()](int key) { return key < end; };
  }

 private:
  const Element* keys_;
  const Element* values_;
  int64_t stride_;
  int rows_, at_ = 0;
};

struct FullArguments {
  const void *q, *k, *v;  // [groups * rows, heads * head_dim]
  void* out;
  unsigned long long* pairs;
  int rows, heads, head_dim, tiles;  // tiles of one group
};

/// Grid: (groups * tiles, heads).
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) full_kernel(const FullArguments a) {
  using Element = typename Tile::Element;
  YOPO_DYNAMIC_SHARED(memory);
  auto& shared = *reinterpret_cast<typename Tile::Shared*>(memory);
  const int first = int(blockIdx.x % unsigned(a.tiles)) * Tile::rows, count = min(Tile::rows, a.rows - first);
  const int64_t width = int64_t(a.heads) * a.head_dim;
  const int64_t base = int64_t(blockIdx.x / unsigned(a.tiles)) * a.rows * width + int64_t(blockIdx.y) * a.head_dim;

  Tile tile(shared, a.head_dim);
  tile.load_queries(static_cast<const Element*>(a.q) + base + first * width, width, count, a.head_dim);
  GroupKeys<Tile> keys(static_cast<const Element*>(a.k) + base, static_cast<const Element*>(a.v) + base, width, a.rows);
  attend(tile, keys, a.head_dim);
  tile.finish(static_cast<Element*>(a.out) + base + first * width, width, count, a.head_dim);
  if (threadIdx.x == 0) atomicAdd(a.pairs, static_cast<unsigned long long>(count) * unsigned(a.rows));
}

}  // namespace

void full_attention(const FullAttention& attention) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  ensure(attention.rows < 1 << 30 && attention.heads <= 65535, "an attention larger than a launch takes");
  ensure(
      aligned(attention.q) && aligned(attention.k) && aligned(attention.v) && aligned(attention.out) && attention.pairs,
      "attention over unaligned rows");
  with_tile(attention.type, attention.head_dim, [&]<class Tile>() {
    FullArguments a{};
    a.q = attention.q, a.k = attention.k, a.v = attention.v, a.out = attention.out;
    a.pairs = reinterpret_cast<unsigned long long*>(attention.pairs);
    a.rows = int(attention.rows), a.heads = int(attention.heads), a.head_dim = int(attention.head_dim);
    a.tiles = int(blocks_for(attention.rows, Tile::rows));
    ensure(attention.groups * a.tiles < int64_t(1) << 31, "an attention larger than a launch takes");
    launch(&full_kernel<Tile>, dim3(unsigned(attention.groups * a.tiles), unsigned(attention.heads)),
           dim3(Tile::threads), sizeof(typename Tile::Shared), a);
  });
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

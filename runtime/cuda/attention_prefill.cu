#include <algorithm>

#include "runtime/cuda/attention_tile.cuh"
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/launch.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

constexpr int requests_per_launch = 16;

/// One launch's arguments; at most 4 KiB.
struct PrefillArguments {
  const void* q;  // rows of heads
  void* out;
  HeadPlaces q_places, out_places;
  const uint8_t *kept, *updated;  // [heads]
  unsigned long long* pairs;
  int heads, kv_heads, head_dim;
  int window_radius;  // -1: no window
  bool window_causal;
  int requests;
  // Of each request: its visual tiles, then its text tiles. Last: their number.
  int first_tile[requests_per_launch + 1];
  PrefillRequest request[requests_per_launch];
};
static_assert(sizeof(PrefillArguments) <= 4096);

/// What a query row reads: text keys [0, text_end), and of the visual keys [visual_begin, visual_end), under a window,
/// those whose column is within the radius of `column`. The rows of the window are in the range already.
struct alignas(16) RowReach {
  int text_end, visual_begin, visual_end, column;
};

/// The keys that a query tile of one head reads: runs of visual keys, then a run of text keys.
template <typename Element>
struct Walk {
  const Element *keys[2], *values[2];  // [count, head_dim]; visual, text
  int begin, end, step, runs;          // run i of visual keys: [begin + i * step, end + i * step)
  int text_end;
  int radius;                      // of the window; -1: none
  const ImageGrid* images;         // under a window: as in PrefillRequest
  const int32_t* image_of_visual;  // [visual.count]
};

/// What the block's threads share: what changes from tile to tile at most is here, to leave the registers to the tile.
template <class Tile>
struct PrefillShared {
  typename Tile::Shared tile;
  typename Tile::Element* out;  // of the first row, at the head's column
  int rows;
  RowReach reach[Tile::rows];
  Walk<typename Tile::Element> walk;
  int column[Tile::keys];  // under a window: of each visual key, in its image
  unsigned long long sums[Tile::threads / warp_size];
};

/// A visual row under a window: what it reads of its image, and how many keys that is.
__device__ __forceinline__ RowReach window_reach(const PrefillRequest& request, int row, int radius, bool causal,
                                                 int* count) {
  const ImageGrid& image = request.images[request.image_of_visual[row]];
  const int first = int(image.first), rows = int(image.rows), columns = int(image.columns), index = row - first;
  const int y = index / columns, x = index % columns;
  const int top = max(0, y - radius), bottom = min(rows - 1, y + radius);
  const int left = max(0, x - radius), right = min(columns - 1, x + radius), width = right - left + 1;
  *count = causal ? (y - top) * width + x - left + 1 : (bottom - top + 1) * width;
  return {request.text_before_visual[row], first + top * columns, causal ? row + 1 : first + (bottom + 1) * columns, x};
}

/// Query rows in one row of a wide image read short pieces of the rows around it: a run for each, rather than one run
/// over whole rows, so that the work grows with the number of keys read. The tile has visual rows
/// [first_row, last_row].
template <int Keys, typename Element>
__device__ void split(Walk<Element>& walk, int first_row, int last_row, bool causal) {
  const int index = walk.image_of_visual[first_row], radius = walk.radius;
  const ImageGrid& image = walk.images[index];
  const int first = int(image.first), columns = int(image.columns), y = (first_row - first) / columns;
  if (walk.image_of_visual[last_row] != index || (last_row - first) / columns != y) return;
  const int row = first + y * columns;
  const int left = max(0, first_row - row - radius), right = min(columns - 1, last_row - row + radius);
  if (columns - (right - left + 1) < Keys) return;  // less than a key tile to leave out
  const int top = max(0, y - radius), bottom = causal ? y : min(int(image.rows) - 1, y + radius);
  walk.begin = first + top * columns + left;
  walk.end = walk.begin + right - left + 1;
  walk.step = columns;
  walk.runs = bottom - top + 1;
}

template <class Tile>
class PrefillKeys {
 public:
  using Element = typename Tile::Element;

  /// `shared` holds the walk and the reach of all rows.
  __device__ PrefillKeys(PrefillShared<Tile>& shared, int head_dim)
      : shared_(shared), head_dim_(head_dim), at_(shared.walk.begin), end_(shared.walk.end) {
    skip_empty();
  }

  __device__ __forceinline__ int count() const { return min(Tile::keys, end_ - at_); }
  __device__ __forceinline__ void advance() {
    at_ += Tile::keys;
    skip_empty();
  }

  __device__ __forceinline__ const Element* keys() const { return shared_.walk.keys[text_] + int64_t(at_) * head_dim_; }
  __device__ __forceinline__ const Element* values() const {
    return shared_.walk.values[text_] + int64_t(at_) * head_dim_;
  }
  __device__ __forceinline__ int64_t stride() const { return head_dim_; }

  __device__ __forceinline__ void prepare() const {
    if (text_ || shared_.walk.radius < 0) return;
    for (int i = int(threadIdx.x); i < count(); i += Tile::threads) {
      const ImageGrid& image = shared_.walk.images[shared_.walk.image_of_visual[at_ + i]];
      shared_.column[i] = (at_ + i - int(image.first)) % int(image.columns);
    }
  }

  // From row to row text_end, visual_begin and visual_end never fall.
  __device__ __forceinline__ bool whole() const {
    const RowReach& least = shared_.reach[0];
    return at_ + Tile::keys <= (text_ ? least.text_end : shared_.walk.radius < 0 ? least.visual_end : 0);
  }
  __device__ __forceinline__ bool reads(int first, int last) const {
    if (text_) return at_ < shared_.reach[last].text_end;
    return at_ < shared_.reach[last].visual_end && at_ + Tile::keys > shared_.reach[first].visual_begin;
  }
  __device__ __forceinline__ auto mask(int row) const {
    const RowReach reach = shared_.reach[row];
    const int begin = text_ ? 0 : reach.visual_begin, end = min(end_, text_ ? reach.text_end : reach.visual_end);
    const int radius = text_ ? -1 : shared_.walk.radius;
    // Unsigned, so that one comparison holds both ends.
    return [shift = at_ - begin, length = unsigned(max(0, end - begin)), window = radius >= 0,
            left = reach.column - radius, diameter = unsigned(2 * radius), column = shared_.column](int key) {
      return unsigned(shift + key) < length && (!window || unsigned(column[key] - left) <= diameter);
    };
  }

 private:
  __device__ __forceinline__ void skip_empty() {
    while (at_ >= end_ && !text_) {
      const auto& walk = shared_.walk;
      text_ = ++run_ == walk.runs;
      at_ = text_ ? 0 : walk.begin + run_ * walk.step;
      end_ = text_ ? walk.text_end : walk.end + run_ * walk.step;
    }
  }

  PrefillShared<Tile>& shared_;
  int head_dim_;
  int at_, end_;       // where the walk is and where its run ends
  int run_ = 0;        // of visual keys
  bool text_ = false;  // past the visual keys
};

/// Grid: (tiles of the launch's requests, heads).
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) prefill_kernel(const PrefillArguments a) {
  using Element = typename Tile::Element;
  YOPO_DYNAMIC_SHARED(memory);
  auto& shared = *reinterpret_cast<PrefillShared<Tile>*>(memory);

  // Late rows read the most and start first.
  const int index = int(gridDim.x - 1 - blockIdx.x), head = int(blockIdx.y), kv_head = head / (a.heads / a.kv_heads);
  int which = 0;
  while (index >= a.first_tile[which + 1]) ++which;
  const PrefillRequest& request = a.request[which];
  const int visual_tiles = (int(request.visual_rows) + Tile::rows - 1) / Tile::rows;
  int tile_index = index - a.first_tile[which];
  const bool text_rows = tile_index >= visual_tiles;
  if (!text_rows && !a.updated[head]) return;
  if (text_rows) tile_index -= visual_tiles;
  const int first_row = tile_index * Tile::rows;
  const int rows = min(Tile::rows, int(text_rows ? request.text_rows : request.visual_rows) - first_row);
  const bool sees_visual = kv_head < request.visual.heads && request.visual.count > 0 && (!text_rows || a.kept[head]);

  const int64_t row_at = (text_rows ? request.text_row : request.visual_row) + first_row;
  const auto element_of = [&](const HeadPlaces& places) {
    return row_at * places.stride + (places.column ? places.column[head] : int64_t(head) * a.head_dim);
  };
  Tile tile(shared.tile, a.head_dim);
  tile.load_queries(static_cast<const Element*>(a.q) + element_of(a.q_places), a.q_places.stride, rows, a.head_dim);

  unsigned long long pairs = 0;
  for (int i = int(threadIdx.x); i < Tile::rows; i += Tile::threads) {
    const int row = first_row + min(i, rows - 1);  // past the last row: its twin, not written and not counted
    RowReach reach{};
    int visual = 0;
    if (text_rows) {
      visual = sees_visual ? request.visual_before_text[row] : 0;
      reach = {int(request.text_before) + row + 1, 0, visual, 0};
    } else if (!sees_visual) {
      reach.text_end = request.text_before_visual[row];
    } else if (a.window_radius < 0) {
      visual = row + 1;
      reach = {request.text_before_visual[row], 0, visual, 0};
    } else {
      reach = window_reach(request, row, a.window_radius, a.window_causal, &visual);
    }
    shared.reach[i] = reach;
    if (i < rows) pairs += unsigned(reach.text_end) + static_cast<unsigned long long>(visual);
  }
  pairs = sum_over_block(pairs, shared.sums);  // its barrier shows the reach to all
  if (threadIdx.x == 0) atomicAdd(a.pairs, pairs);

  if (threadIdx.x == 0) {
    shared.out = static_cast<Element*>(a.out) + element_of(a.out_places);
    shared.rows = rows;
    auto& walk = shared.walk;
    const KvSegment* segments[2] = {&request.visual, &request.text};
    for (int i = 0; i < 2; ++i) {
      const int64_t past = kv_head * segments[i]->stride * a.head_dim;
      walk.keys[i] = static_cast<const Element*>(segments[i]->keys) + past;
      walk.values[i] = static_cast<const Element*>(segments[i]->values) + past;
    }
    walk.begin = shared.reach[0].visual_begin, walk.end = shared.reach[rows - 1].visual_end;
    walk.step = 0, walk.runs = 1;
    walk.text_end = shared.reach[rows - 1].text_end;
    walk.radius = text_rows ? -1 : a.window_radius;
    walk.images = request.images, walk.image_of_visual = request.image_of_visual;
    if (walk.radius >= 0 && sees_visual) split<Tile::keys>(walk, first_row, first_row + rows - 1, a.window_causal);
  }
  __syncthreads();
  PrefillKeys<Tile> keys(shared, a.head_dim);
  attend(tile, keys, a.head_dim);
  tile.finish(shared.out, a.out_places.stride, shared.rows, a.head_dim);
}

template <class Tile>
void launch_chunk(PrefillArguments& a) {
  int64_t tiles = 0;
  for (int i = 0; i < a.requests; ++i) {
    const PrefillRequest& request = a.request[i];
    ensure(request.text_before + request.text_rows < 1 << 30 && request.visual_rows < 1 << 30,
           "a request larger than a launch takes");
    a.first_tile[i] = int(tiles);
    tiles += int64_t(blocks_for(request.text_rows, Tile::rows)) + blocks_for(request.visual_rows, Tile::rows);
    ensure(tiles < int64_t(1) << 31, "requests larger than a launch takes");
  }
  a.first_tile[a.requests] = int(tiles);
  launch(&prefill_kernel<Tile>, dim3(unsigned(tiles), unsigned(a.heads)), dim3(Tile::threads),
         sizeof(PrefillShared<Tile>), a);
}

}  // namespace

void prefill_attention(const PrefillAttention& attention) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  ensure(attention.heads <= 65535 && attention.kv_heads > 0 && attention.heads % attention.kv_heads == 0,
         "query heads are shared evenly by KV heads");
  ensure(attention.window_radius < 1 << 30, "a window larger than a launch takes");
  ensure(aligned(attention.q) && aligned(attention.out) && attention.pairs, "attention over unaligned rows");
  PrefillArguments a{};
  a.q = attention.q, a.q_places = attention.q_places;
  a.out = attention.out, a.out_places = attention.out_places;
  a.kept = attention.kept, a.updated = attention.updated;
  a.pairs = reinterpret_cast<unsigned long long*>(attention.pairs);
  a.heads = int(attention.heads), a.kv_heads = int(attention.kv_heads), a.head_dim = int(attention.head_dim);
  a.window_radius = int(attention.window_radius), a.window_causal = attention.window_causal;
  with_tile(attention.type, attention.head_dim, [&]<class Tile>() {
    for (size_t first = 0; first < attention.requests.size(); first += requests_per_launch) {
      const auto part =
          attention.requests.subspan(first, std::min<size_t>(requests_per_launch, attention.requests.size() - first));
      for (const PrefillRequest& request : part)
        ensure(aligned(request.visual.keys) && aligned(request.visual.values) && aligned(request.text.keys) &&
                   aligned(request.text.values),
               "attention over unaligned rows");
      a.requests = int(part.size());
      std::copy(part.begin(), part.end(), a.request);
      launch_chunk<Tile>(a);
    }
  });
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE

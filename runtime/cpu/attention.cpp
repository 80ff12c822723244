#include "runtime/cpu/attention.h"

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "core/error.h"
#include "runtime/cpu/attention_block.h"

namespace yopo::runtime::cpu {
namespace {

template <typename Pointer>
Pointer* head_at(Pointer* data, DType type, const HeadPlaces& places, int64_t row, int64_t head, int64_t dim) {
  return offset(data, type, row * places.stride + (places.column ? places.column[head] : head * dim));
}

/// The first key and value row of a head.
const void* head_rows(const void* data, DType type, const KvSegment& segment, int64_t head, int64_t dim) {
  return offset(data, type, head * segment.stride * dim);
}

constexpr int64_t parallel_from = 100000;  // multiply-adds under which starting threads costs more than it saves

/// Runs a worker's tasks, each of which returns pairs, in parallel if their `work` in multiply-adds is worth it, and
/// sums. Every thread makes its own worker. An exception of a task is thrown on here.
template <typename MakeWorker>
int64_t over_tasks(int64_t tasks, int64_t work, MakeWorker make_worker) {
  int64_t pairs = 0;
  std::exception_ptr error;
#pragma omp parallel reduction(+ : pairs) if (tasks > 1 && work > parallel_from)
  {
    try {
      auto worker = make_worker();
#pragma omp for schedule(dynamic, 1) nowait
      for (int64_t task = 0; task < tasks; ++task) {
        try {
          pairs += worker(task);
        } catch (...) {
#pragma omp critical(yopo_attention_error)
          error = std::current_exception();
        }
      }
    } catch (...) {
#pragma omp critical(yopo_attention_error)
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
  return pairs;
}

/// How many pieces a (request, KV head)'s query blocks are cut into so that every thread has work; each piece packs the
/// keys again, so no more than needed.
int64_t pieces_for(int64_t tasks, int64_t blocks) {
  const int64_t threads = omp_get_max_threads();
  if (threads <= 1) return 1;
  return std::clamp<int64_t>((2 * threads + tasks - 1) / std::max<int64_t>(tasks, 1), 1, std::max<int64_t>(blocks, 1));
}

/// All queries of one KV head of one request; per thread, so that its scratch is reused, and the packed visual keys by
/// the next request if it reads the same.
class PrefillWorker {
 public:
  PrefillWorker(const PrefillAttention& attention, int64_t pieces)
      : a_(attention), set_(kernels()), pieces_(pieces), block_(set_, a_.head_dim), row_(set_, a_.type, a_.head_dim) {}

  int64_t run(const PrefillRequest& request, int64_t kv_head, int64_t piece) {
    const int64_t group = a_.heads / a_.kv_heads, dim = a_.head_dim;
    const bool seen = kv_head < request.visual.heads && request.visual.count > 0;
    const KvSegment none;
    const KvSegment& visual = seen ? request.visual : none;
    pack(text_, request.text, kv_head);
    const void* visual_head = head_rows(visual.keys, a_.type, visual, kv_head, dim);
    if (!seen || visual_head != packed_visual_) pack(visual_, visual, kv_head);
    packed_visual_ = seen ? visual_head : nullptr;
    int64_t pairs = 0;
    const auto [text_first, text_last] = share(request.text_rows, piece);
    const auto [visual_first, visual_last] = share(request.visual_rows, piece);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      pairs += text_rows(request, head, seen && a_.kept[head], text_first, text_last);
      if (!a_.updated[head]) continue;
      if (a_.window_radius < 0) {
        pairs += visual_rows(request, head, visual_first, visual_last);
      } else {
        const void* text_keys = head_rows(request.text.keys, a_.type, request.text, kv_head, dim);
        const void* text_values = head_rows(request.text.values, a_.type, request.text, kv_head, dim);
        const void* values = head_rows(visual.values, a_.type, visual, kv_head, dim);
        for (int64_t row = visual_first; row < visual_last; ++row) {
          row_.begin(at(a_.q, a_.q_places, request.visual_row + row, head));
          row_.read(text_keys, text_values, request.text_before_visual[row], dim);
          read_window(request, row, visual_head, values);
          pairs += row_.finish(at(a_.out, a_.out_places, request.visual_row + row, head));
        }
      }
    }
    return pairs;
  }

 private:
  template <typename Pointer>
  Pointer* at(Pointer* data, const HeadPlaces& places, int64_t row, int64_t head) const {
    return head_at(data, a_.type, places, row, head, a_.head_dim);
  }
  void pack(PackedSegment& packed, const KvSegment& segment, int64_t kv_head) {
    packed.pack(set_, head_rows(segment.keys, a_.type, segment, kv_head, a_.head_dim),
                head_rows(segment.values, a_.type, segment, kv_head, a_.head_dim), a_.type, segment.count, a_.head_dim,
                a_.head_dim);
  }
  /// This piece's rows of `rows`, in whole blocks.
  std::pair<int64_t, int64_t> share(int64_t rows, int64_t piece) const {
    const int64_t blocks = (rows + block_rows - 1) / block_rows;
    return {std::min(rows, blocks * piece / pieces_ * block_rows),
            std::min(rows, blocks * (piece + 1) / pieces_ * block_rows)};
  }

  int64_t text_rows(const PrefillRequest& request, int64_t head, bool see_visual, int64_t first, int64_t last) {
    int64_t pairs = 0, text_limit[block_rows], visual_limit[block_rows];
    for (int64_t row = first; row < last; row += block_rows) {
      const int64_t rows = std::min(block_rows, last - row);
      for (int64_t i = 0; i < rows; ++i) {
        text_limit[i] = request.text_before + row + i + 1;
        visual_limit[i] = see_visual ? request.visual_before_text[row + i] : 0;
      }
      pairs += block_.run(at(a_.q, a_.q_places, request.text_row + row, head), a_.q_places.stride,
                          at(a_.out, a_.out_places, request.text_row + row, head), a_.out_places.stride, a_.type, rows,
                          visual_, visual_limit, text_, text_limit);
    }
    return pairs;
  }
  int64_t visual_rows(const PrefillRequest& request, int64_t head, int64_t first, int64_t last) {
    int64_t pairs = 0, text_limit[block_rows], visual_limit[block_rows];
    for (int64_t row = first; row < last; row += block_rows) {
      const int64_t rows = std::min(block_rows, last - row);
      for (int64_t i = 0; i < rows; ++i) {
        text_limit[i] = request.text_before_visual[row + i];
        visual_limit[i] = row + i + 1;
      }
      pairs += block_.run(at(a_.q, a_.q_places, request.visual_row + row, head), a_.q_places.stride,
                          at(a_.out, a_.out_places, request.visual_row + row, head), a_.out_places.stride, a_.type,
                          rows, text_, text_limit, visual_, visual_limit);
    }
    return pairs;
  }
  /// Neighbours of visual row `row`: in each row of its image within the radius, one run of columns.
  void read_window(const PrefillRequest& request, int64_t row, const void* keys, const void* values) {
    const ImageGrid& image = request.images[request.image_of_visual[row]];
    const int64_t index = row - image.first, y = index / image.columns, x = index % image.columns, dim = a_.head_dim;
    const int64_t top = std::max<int64_t>(0, y - a_.window_radius);
    const int64_t bottom = a_.window_causal ? y : std::min(image.rows - 1, y + a_.window_radius);
    const int64_t left = std::max<int64_t>(0, x - a_.window_radius),
                  right = std::min(image.columns - 1, x + a_.window_radius);
    for (int64_t r = top; r <= bottom; ++r) {
      const int64_t first = image.first + r * image.columns + left;
      const int64_t last = image.first + r * image.columns + (a_.window_causal && r == y ? x : right);
      row_.read(offset(keys, a_.type, first * dim), offset(values, a_.type, first * dim), last - first + 1, dim);
    }
  }

  const PrefillAttention& a_;
  const Kernels& set_;
  int64_t pieces_;
  PackedSegment text_, visual_;
  const void* packed_visual_ = nullptr;  // the keys that visual_ holds
  QueryBlock block_;
  QueryRow row_;
};

/// Neighbouring requests that read the same visual keys.
std::vector<std::span<const PrefillRequest>> groups_of(std::span<const PrefillRequest> requests) {
  std::vector<std::span<const PrefillRequest>> groups;
  for (size_t first = 0, last = 0; first < requests.size(); first = last) {
    const void* keys = requests[first].visual.keys;
    for (last = first + 1; last < requests.size() && keys && requests[last].visual.keys == keys;) ++last;
    groups.push_back(requests.subspan(first, last - first));
  }
  return groups;
}

}  // namespace

void prefill_attention(const PrefillAttention& attention) {
  int64_t longest = 0, work = 0;
  for (const PrefillRequest& request : attention.requests) {
    longest = std::max({longest, request.text_rows, request.visual_rows});
    work += (request.text_rows + request.visual_rows) * (request.text.count + request.visual.count);
  }
  work *= attention.heads * attention.head_dim;
  const std::vector<std::span<const PrefillRequest>> groups = groups_of(attention.requests);
  const int64_t heads = attention.kv_heads, count = int64_t(groups.size());
  const int64_t pieces = pieces_for(count * heads, (longest + block_rows - 1) / block_rows);
  *attention.pairs += over_tasks(count * heads * pieces, work, [&] {
    return [&groups, heads, pieces, worker = PrefillWorker(attention, pieces)](int64_t task) mutable {
      int64_t pairs = 0;
      for (const PrefillRequest& request : groups[size_t(task / (heads * pieces))])
        pairs += worker.run(request, task / pieces % heads, task % pieces);
      return pairs;
    };
  });
}

void decode_attention(const DecodeAttention& attention) {
  const int64_t group = attention.heads / attention.kv_heads, dim = attention.head_dim;
  int64_t work = 0;
  for (size_t i = 0; i < attention.requests.size(); ++i)
    work += 2 * attention.heads * dim * (attention.counts[i] + 1 + attention.requests[i].visual.count);
  *attention.pairs += over_tasks(int64_t(attention.requests.size()) * attention.kv_heads, work, [&] {
    return [&, row = QueryRow(kernels(), attention.type, dim)](int64_t task) mutable {
      const int64_t index = task / attention.kv_heads, kv_head = task % attention.kv_heads;
      const DecodeRequest& request = attention.requests[size_t(index)];
      int64_t pairs = 0;
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        row.begin(head_at(attention.q, attention.type, attention.q_places, index, head, dim));
        row.read(head_rows(request.text.keys, attention.type, request.text, kv_head, dim),
                 head_rows(request.text.values, attention.type, request.text, kv_head, dim),
                 attention.counts[index] + 1, dim);
        if (attention.kept[head] && kv_head < request.visual.heads)
          row.read(head_rows(request.visual.keys, attention.type, request.visual, kv_head, dim),
                   head_rows(request.visual.values, attention.type, request.visual, kv_head, dim), request.visual.count,
                   dim);
        pairs += row.finish(head_at(attention.out, attention.type, attention.out_places, index, head, dim));
      }
      return pairs;
    };
  });
}

void full_attention(const FullAttention& attention) {
  const int64_t width = attention.heads * attention.head_dim, dim = attention.head_dim;
  const int64_t blocks = (attention.rows + block_rows - 1) / block_rows;
  const int64_t pieces = pieces_for(attention.groups * attention.heads, blocks);
  const int64_t work = 2 * attention.groups * attention.rows * attention.rows * width;
  *attention.pairs += over_tasks(attention.groups * attention.heads * pieces, work, [&] {
    const Kernels& set = kernels();
    return [&, pieces, keys = PackedSegment(), none = PackedSegment(),
            block = QueryBlock(set, dim)](int64_t task) mutable {
      const int64_t group = task / (attention.heads * pieces), head = task / pieces % attention.heads,
                    piece = task % pieces;
      const int64_t base = group * attention.rows * width + head * dim;
      keys.pack(set, offset(attention.k, attention.type, base), offset(attention.v, attention.type, base),
                attention.type, attention.rows, dim, width);
      int64_t pairs = 0, limit[block_rows], zero[block_rows] = {};
      std::fill_n(limit, block_rows, attention.rows);
      const int64_t last = std::min(attention.rows, blocks * (piece + 1) / pieces * block_rows);
      for (int64_t row = blocks * piece / pieces * block_rows; row < last; row += block_rows)
        pairs += block.run(offset(attention.q, attention.type, base + row * width), width,
                           offset(attention.out, attention.type, base + row * width), width, attention.type,
                           std::min(block_rows, last - row), keys, limit, none, zero);
      return pairs;
    };
  });
}

}  // namespace yopo::runtime::cpu

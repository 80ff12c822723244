#include "runtime/cpu/elementwise.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "runtime/cpu/kernels.h"

namespace yopo::runtime::cpu {
namespace {

constexpr int64_t parallel_from = 16384;  // elements under which starting threads costs more than it saves
constexpr int64_t chunk = 8192;           // elements a task of flat loops

template <typename Body>
void over_chunks(int64_t count, Body body) {
  const int64_t chunks = (count + chunk - 1) / chunk;
#pragma omp parallel for schedule(static) if (count > parallel_from)
  for (int64_t index = 0; index < chunks; ++index) body(index * chunk, std::min(chunk, count - index * chunk));
}

float activated(Activation activation, float x) {
  switch (activation) {
    case Activation::Silu:
      return x / (1.0f + std::exp(-x));
    case Activation::Gelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f));
    case Activation::QuickGelu:
      return x / (1.0f + std::exp(-1.702f * x));
    case Activation::GeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  }
  return x;
}

}  // namespace

void rms_norm(const float* x, const float* weight, double eps, int64_t rows, int64_t columns, DType type, void* out) {
  const Kernels& set = kernels();
#pragma omp parallel for schedule(static) if (rows * columns > parallel_from)
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x + row * columns;
    const float mean_square = set.square_sum(in, columns, 0.0f) / float(columns);
    set.normalise(in, 0.0f, 1.0f / std::sqrt(mean_square + float(eps)), weight, nullptr, columns, type == DType::BF16,
                  offset(out, type, row * columns));
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, double eps, int64_t rows, int64_t columns,
                DType type, void* out) {
  const Kernels& set = kernels();
#pragma omp parallel for schedule(static) if (rows * columns > parallel_from)
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x + row * columns;
    const float mean = set.sum(in, columns) / float(columns);
    const float variance = set.square_sum(in, columns, mean) / float(columns);
    set.normalise(in, mean, 1.0f / std::sqrt(variance + float(eps)), weight, bias, columns, type == DType::BF16,
                  offset(out, type, row * columns));
  }
}

void rope(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* cos,
          const float* sin) {
  const Kernels& set = kernels();
  const int64_t half = head_dim / 2;
#pragma omp parallel for schedule(static) if (rows * heads * head_dim > parallel_from)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t head = 0; head < heads; ++head) {
      void* at = offset(x, type, row * stride + head * head_dim);
      set.rotate(at, type == DType::BF16, half, cos + row * half, sin + row * half, at);
    }
}

void norm_heads(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* weight,
                double eps) {
  const Kernels& set = kernels();
#pragma omp parallel if (rows * heads * head_dim > parallel_from)
  {
    std::vector<float> wide(static_cast<size_t>(head_dim));
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t head = 0; head < heads; ++head) {
        void* at = offset(x, type, row * stride + head * head_dim);
        to_float(at, type, size_t(head_dim), wide.data());
        const float mean_square = set.square_sum(wide.data(), head_dim, 0.0f) / float(head_dim);
        set.normalise(wide.data(), 0.0f, 1.0f / std::sqrt(mean_square + float(eps)), weight, nullptr, head_dim,
                      type == DType::BF16, at);
      }
  }
}

void store(const KvRows& rows, DType type, int64_t head_dim, const float* cos, const float* sin,
           std::span<const StoreRows> targets) {
  const Kernels& set = kernels();
  const int64_t half = head_dim / 2;
  std::vector<int64_t> first{0};  // of each target among the rows of all: many of them are short
  int64_t elements = 0;
  for (const StoreRows& target : targets) {
    ensure(target.at + target.rows <= target.segment.stride, "KV rows past their segment");
    first.push_back(first.back() + target.rows);
    elements += target.rows * target.segment.heads * head_dim;
  }
#pragma omp parallel if (elements > parallel_from)
  {
    const int64_t threads = omp_get_num_threads(), mine = omp_get_thread_num();
    const int64_t begin = first.back() * mine / threads, end = first.back() * (mine + 1) / threads;
    size_t index = size_t(std::upper_bound(first.begin(), first.end(), begin) - first.begin()) - 1;
    for (int64_t at = begin; at < end; ++at) {
      while (at >= first[index + 1]) ++index;
      const StoreRows& target = targets[index];
      const KvSegment& segment = target.segment;
      const int64_t row = at - first[index];
      for (int64_t head = 0; head < segment.heads; ++head) {
        const int64_t from = (target.row + row) * rows.stride + head * head_dim;
        const int64_t to = (head * segment.stride + target.at + row) * head_dim;
        set.rotate(offset(rows.k, type, from), type == DType::BF16, half, cos + (target.row + row) * half,
                   sin + (target.row + row) * half, offset(segment.keys, type, to));
        std::memcpy(offset(segment.values, type, to), offset(head < rows.v_heads ? rows.v : rows.v_rest, type, from),
                    size_t(head_dim) * size_of(type));
      }
    }
  }
}

void store_decode(const DecodeStore& work) {
  const Kernels& set = kernels();
  const int64_t half = work.head_dim / 2;
  for (size_t i = 0; i < work.requests.size(); ++i) {
    const KvSegment& segment = work.requests[i].text;
    ensure(work.counts[i] < segment.stride, "KV rows past their segment");
    for (int64_t head = 0; head < work.kv_heads; ++head) {
      const int64_t from = int64_t(i) * work.rows.stride + head * work.head_dim;
      const int64_t to = (head * segment.stride + work.counts[i]) * work.head_dim;
      set.rotate(offset(work.rows.k, work.type, from), work.type == DType::BF16, half, work.cos + int64_t(i) * half,
                 work.sin + int64_t(i) * half, offset(segment.keys, work.type, to));
      std::memcpy(offset(segment.values, work.type, to),
                  offset(head < work.rows.v_heads ? work.rows.v : work.rows.v_rest, work.type, from),
                  size_t(work.head_dim) * size_of(work.type));
    }
  }
}

void gated(const void* gate, const void* up, DType type, int64_t rows, int64_t columns, int64_t stride, void* out) {
  const Kernels& set = kernels();
  const auto part = [&](int64_t from, int64_t to, int64_t here) {
    set.gated(offset(gate, type, from), offset(up, type, from), type == DType::BF16, here, offset(out, type, to));
  };
  if (rows == 1 || stride == columns) {
    over_chunks(rows * columns, [&](int64_t first, int64_t here) { part(first, first, here); });
    return;
  }
  const int64_t pieces = (columns + chunk - 1) / chunk;
#pragma omp parallel for schedule(static) if (rows * columns > parallel_from)
  for (int64_t task = 0; task < rows * pieces; ++task) {
    const int64_t row = task / pieces, first = task % pieces * chunk;
    part(row * stride + first, row * columns + first, std::min(chunk, columns - first));
  }
}

void activate(Activation activation, void* x, DType type, int64_t count) {
  over_chunks(count, [&](int64_t first, int64_t here) {
    if (type == DType::BF16) {
      auto* values = static_cast<uint16_t*>(x) + first;
      for (int64_t i = 0; i < here; ++i) values[i] = bf16_of_float(activated(activation, float_of_bf16(values[i])));
    } else {
      auto* values = static_cast<float*>(x) + first;
      for (int64_t i = 0; i < here; ++i) values[i] = activated(activation, values[i]);
    }
  });
}

void add_bias(float* x, const float* bias, int64_t rows, int64_t columns) {
#pragma omp parallel for schedule(static) if (rows * columns > parallel_from)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < columns; ++i) x[row * columns + i] += bias[i];
}

void add_scaled(float* x, const float* scale, const float* y, int64_t rows, int64_t columns) {
#pragma omp parallel for schedule(static) if (rows * columns > parallel_from)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < columns; ++i) x[row * columns + i] += scale[i] * y[row * columns + i];
}

void embed_patches(const float* patches, const float* class_embed, const float* position_embed, int64_t images,
                   int64_t positions, int64_t columns, float* out) {
  const int64_t first = class_embed ? 1 : 0;  // of an image's patches among its rows
#pragma omp parallel for collapse(2) schedule(static) if (images * positions * columns > parallel_from)
  for (int64_t image = 0; image < images; ++image)
    for (int64_t position = 0; position < positions; ++position) {
      const float* from =
          position < first ? class_embed : patches + (image * (positions - first) + position - first) * columns;
      float* to = out + (image * positions + position) * columns;
      if (position_embed) {
        const float* place = position_embed + position * columns;
        for (int64_t i = 0; i < columns; ++i) to[i] = from[i] + place[i];
      } else {
        std::copy_n(from, columns, to);
      }
    }
}

void drop_rows(const float* x, int64_t groups, int64_t rows, int64_t skip, int64_t columns, DType type, void* out) {
  const int64_t kept = rows - skip;
#pragma omp parallel for collapse(2) schedule(static) if (groups * rows * columns > parallel_from)
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t row = 0; row < kept; ++row)
      from_float(x + (group * rows + skip + row) * columns, size_t(columns), type,
                 offset(out, type, (group * kept + row) * columns));
}

void mix_rows(const float* from, const int32_t* index, const float* weight, int64_t count, int64_t columns,
              float* out) {
#pragma omp parallel for schedule(static) if (count * columns > parallel_from)
  for (int64_t row = 0; row < count; ++row) {
    float* to = out + row * columns;
    std::fill_n(to, columns, 0.0f);
    for (int64_t part = 4 * row; part < 4 * row + 4; ++part) {
      if (weight[part] == 0) continue;
      const float* own = from + index[part] * columns;
      for (int64_t i = 0; i < columns; ++i) to[i] += weight[part] * own[i];
    }
  }
}

}  // namespace yopo::runtime::cpu

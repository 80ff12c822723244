#include "runtime/cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "runtime/cpu/kernels.h"
#include "runtime/cpu/onednn.h"
#include "runtime/cpu/packed.h"
#include "runtime/packed.h"

namespace yopo::runtime::cpu {
namespace {

/// A primitive with the descriptors its arguments need.
struct Product : MatmulDescs {
  dnnl::matmul primitive;
};

/// m, n, k, lda, ldw, ldo, flags, threads: oneDNN fixes its blocking for the threads it is made under.
using Key = std::array<int64_t, 8>;
struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (const int64_t part : key) hash = (hash ^ uint64_t(part)) * 0xff51afd7ed558ccdu, hash ^= hash >> 32;
    return size_t(hash);
  }
};

Product make_product(const Gemm& gemm) {
  using Desc = dnnl::memory::desc;
  const bool row = gemm.m == 1;  // a row's stride is never used; oneDNN wants it to be plausible
  Product product;
  product.a = Desc({gemm.m, gemm.k}, type_of(gemm.type), {row ? gemm.k : gemm.lda, 1});
  product.w = gemm.packed ? packed_desc(gemm.type, gemm.n, gemm.k)
                          : Desc({gemm.k, gemm.n}, type_of(gemm.type), {1, gemm.n == 1 ? gemm.k : gemm.ldw});
  product.out = Desc({gemm.m, gemm.n}, type_of(gemm.out_type), {row ? gemm.n : gemm.ldo, 1});
  dnnl::primitive_attr attributes;
  if (gemm.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  if (gemm.bias) product.bias = Desc({1, gemm.n}, dnnl::memory::data_type::f32, {gemm.n, 1});
  product.primitive = dnnl::matmul(describe(product, attributes));
  return product;
}

/// Least recently used first out: a server sees ever new prompt lengths.
class ProductCache {
 public:
  Product get(const Gemm& gemm) {
    const int64_t flags = (gemm.type == DType::BF16) | (gemm.out_type == DType::BF16) << 1 |
                          int64_t(gemm.accumulate) << 2 | int64_t(gemm.bias != nullptr) << 3 |
                          int64_t(gemm.packed) << 4;
    const Key key{gemm.m, gemm.n, gemm.k, gemm.lda, gemm.ldw, gemm.ldo, flags, omp_get_max_threads()};
    if (const auto found = index_.find(key); found != index_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
      return found->second->second;
    }
    entries_.emplace_front(key, make_product(gemm));
    index_[key] = entries_.begin();
    if (entries_.size() > capacity) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return entries_.front().second;
  }

 private:
  static constexpr size_t capacity = 512;
  std::list<std::pair<Key, Product>> entries_;  // newest first
  std::unordered_map<Key, std::list<std::pair<Key, Product>>::iterator, KeyHash> index_;
};

/// One thread for the life of this object: starting more costs more than a small product takes.
class OneThread {
 public:
  explicit OneThread(bool wanted) : before_(wanted ? omp_get_max_threads() : 0) {
    if (wanted) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ > 0) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

void check(const Gemm& gemm) {
  ensure(gemm.k > 0 && gemm.lda >= gemm.k && (gemm.packed || gemm.ldw >= gemm.k) && gemm.ldo >= gemm.n,
         "gemm: row strides shorter than rows");
  ensure(!gemm.accumulate || (gemm.out_type == DType::F32 && !gemm.bias),
         "gemm: accumulation is in fp32 and without bias");
}

/// to [rows, columns] = from, rows `to_stride` and `from_stride` elements apart.
void copy_rows(const void* from, int64_t from_stride, void* to, int64_t to_stride, int64_t rows, int64_t columns,
               DType type) {
#pragma omp parallel for schedule(static) if (rows * columns > 65536)
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(offset(to, type, row * to_stride), offset(from, type, row * from_stride),
                size_t(columns) * size_of(type));
}

/// oneDNN 2 has kernels for packed weights only where the other rows lie one behind the other: copied, where they do
/// not, which takes a hundredth of the product's time at a model's sizes.
void gemm_dense(const Gemm& gemm) {
  thread_local std::vector<std::byte> a, out;
  Gemm dense = gemm;
  if (gemm.lda != gemm.k) {
    a.resize(size_t(gemm.m * gemm.k) * size_of(gemm.type));
    copy_rows(gemm.a, gemm.lda, a.data(), gemm.k, gemm.m, gemm.k, gemm.type);
    dense.a = a.data(), dense.lda = gemm.k;
  }
  const bool apart = gemm.ldo != gemm.n;
  if (apart) {
    out.resize(size_t(gemm.m * gemm.n) * size_of(gemm.out_type));
    if (gemm.accumulate) copy_rows(gemm.out, gemm.ldo, out.data(), gemm.n, gemm.m, gemm.n, gemm.out_type);
    dense.out = out.data(), dense.ldo = gemm.n;
  }
  gemm_onednn(dense);
  if (apart) copy_rows(out.data(), gemm.n, gemm.out, gemm.ldo, gemm.m, gemm.n, gemm.out_type);
}

}  // namespace

void gemm_onednn(const Gemm& gemm) {
  check(gemm);
  if (gemm.packed && gemm.m > 1 && (gemm.lda != gemm.k || gemm.ldo != gemm.n)) return gemm_dense(gemm);
  // Of each thread: oneDNN's primitives share scratch memory, which is the thread's that made them.
  thread_local ProductCache cache;
  thread_local dnnl::stream stream(engine());
  const OneThread small(gemm.m * gemm.n * gemm.k < (1 << 20));
  const Product product = cache.get(gemm);
  // oneDNN's interface has no const; the inputs are only read.
  dnnl::memory a(product.a, engine(), const_cast<void*>(gemm.a)), w(product.w, engine(), const_cast<void*>(gemm.w));
  dnnl::memory out(product.out, engine(), gemm.out);
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, out}};
  if (gemm.bias) arguments.emplace(DNNL_ARG_BIAS, dnnl::memory(product.bias, engine(), const_cast<float*>(gemm.bias)));
  product.primitive.execute(stream, arguments);
  stream.wait();
}

void gemv(const Gemm& gemm) {
  check(gemm);
  ensure(gemm.m <= 4, "gemv is for up to four rows");
  const bool bf16 = gemm.type == DType::BF16;
  // For rows of bf16 the even and odd columns of a are split once, so that the inner loop needs no shuffles.
  const int64_t odd = (gemm.k + 1) / 2, stride = bf16 ? 2 * odd : gemm.k;
  std::vector<float> a(size_t(gemm.m * stride), 0.0f);
  for (int64_t m = 0; m < gemm.m; ++m) {
    float* row = a.data() + m * stride;
    if (bf16) {
      const auto* in = static_cast<const uint16_t*>(gemm.a) + m * gemm.lda;
      for (int64_t i = 0; i < gemm.k; ++i) row[gemm.packed ? i : (i % 2 ? odd : 0) + i / 2] = float_of_bf16(in[i]);
    } else {
      std::copy_n(static_cast<const float*>(gemm.a) + m * gemm.lda, gemm.k, row);
    }
  }
  constexpr int64_t block = packed_rows;
  const int64_t blocks = (gemm.n + block - 1) / block;
  const int64_t block_bytes = gemm.packed ? int64_t(packed_desc(gemm.type, block, gemm.k).get_size())
                                          : block * gemm.ldw * int64_t(size_of(gemm.type));
  const Kernels& set = kernels();
#pragma omp parallel for schedule(static) if (gemm.n * gemm.k > 65536)
  for (int64_t index = 0; index < blocks; ++index) {
    const int64_t first = index * block, count = std::min(block, gemm.n - first);
    const void* w = static_cast<const std::byte*>(gemm.w) + index * block_bytes;
    float out[4 * block];
    if (gemm.packed)
      set.gemv_packed(a.data(), gemm.m, stride, w, bf16, gemm.k, out);
    else
      set.gemv(a.data(), gemm.m, stride, w, bf16, count, gemm.k, gemm.ldw, out, block);
    for (int64_t m = 0; m < gemm.m; ++m) {
      const float* row = out + m * block;
      float* sum = static_cast<float*>(gemm.out) + m * gemm.ldo + first;
      uint16_t* rounded = static_cast<uint16_t*>(gemm.out) + m * gemm.ldo + first;
      for (int64_t i = 0; i < count; ++i) {
        const float value = row[i] + (gemm.bias ? gemm.bias[first + i] : 0.0f);
        if (gemm.out_type == DType::BF16)
          rounded[i] = bf16_of_float(value);
        else
          sum[i] = gemm.accumulate ? sum[i] + value : value;
      }
    }
  }
}

void gemm(const Gemm& gemm) {
  if (gemm.m <= 0 || gemm.n <= 0) return;
  if (gemm.m <= 2)
    gemv(gemm);  // faster than oneDNN up to here
  else
    gemm_onednn(gemm);
}

bool bf16_is_possible() {
  static const bool possible = [] {
    using Desc = dnnl::memory::desc;
    using Type = dnnl::memory::data_type;
    try {
      Product product;
      product.a = Desc({64, 64}, Type::bf16, {64, 1});
      product.w = Desc({64, 64}, Type::bf16, {1, 64});
      product.out = Desc({64, 64}, Type::f32, {64, 1});
      return std::string(describe(product, {}).impl_info_str()).rfind("ref", 0) != 0;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return possible;
}

bool bf16_is_fast() {
#if defined(__x86_64__)
  const auto isa = dnnl::get_effective_cpu_isa();
  return bf16_is_possible() && (isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_amx);
#else
  return false;
#endif
}

}  // namespace yopo::runtime::cpu

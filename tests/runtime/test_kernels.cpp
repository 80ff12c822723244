// The CPU's inner loops, every instruction set that this machine has, against plain loops in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/error.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/kernels.h"
#include "runtime/cpu/packed.h"
#include "tests/support/close.h"

namespace yopo::runtime::cpu {
namespace {

using yopo::testing::close;
using yopo::testing::close_relative;

class Kernel : public ::testing::TestWithParam<std::tuple<int, bool>> {
 protected:
  const Kernels& set() const { return *all_kernels().sets[std::get<0>(GetParam())]; }
  bool bf16() const { return std::get<1>(GetParam()); }
  double rounding() const { return bf16() ? 1.0 / 256 : 1e-6; }  // of one stored result, relative

  /// Numbers that bf16 holds exactly, so that only outputs are rounded.
  std::vector<float> draw(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    std::normal_distribution<float> normal;
    for (float& value : values) value = float_of_bf16(bf16_of_float(normal(random_)));
    return values;
  }
  std::vector<std::byte> stored(const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * size_of(type()));
    from_float(values.data(), values.size(), type(), bytes.data());
    return bytes;
  }
  std::vector<float> floats(const void* data, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    to_float(data, type(), size_t(count), values.data());
    return values;
  }
  DType type() const { return bf16() ? DType::BF16 : DType::F32; }
  std::mt19937 random_{5};
};

TEST_P(Kernel, ScoresOfPackedKeys) {
  for (const int64_t count : {1, 15, 16, 64, 65, 130}) {
    for (int64_t rows = 1; rows <= 33; ++rows) {
      const int64_t dim = 20, stride = 23, padded = (count + set().width - 1) / set().width * set().width;
      const std::vector<float> keys = draw(count * stride), q = draw(rows * dim);
      std::vector<float> packed(size_t(padded * dim), NAN), out(size_t(rows * padded), NAN), expected;
      const auto bytes = stored(keys);
      set().pack_keys(bytes.data(), bf16(), count, dim, stride, packed.data());
      set().scores(q.data(), rows, dim, dim, packed.data(), count, out.data(), padded);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < padded; ++j) {
          double sum = 0;
          for (int64_t d = 0; d < dim && j < count; ++d)
            sum += double(q[size_t(r * dim + d)]) * keys[size_t(j * stride + d)];
          expected.push_back(float(sum));
        }
      EXPECT_TRUE(close(out, expected, 1e-5)) << count << " keys, " << rows << " rows";
    }
  }
}

TEST_P(Kernel, WeighedValues) {
  for (const int64_t keys : {0, 1, 63, 64, 200})
    for (const int64_t dim : {16, 64, 80, 128})
      for (int64_t rows = 1; rows <= 33; ++rows) {
        const int64_t stride = keys + 3;
        const std::vector<float> p = draw(rows * stride), values = draw(keys * dim);
        std::vector<float> out = draw(rows * dim), expected = out;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t d = 0; d < dim; ++d) {
            double sum = out[size_t(r * dim + d)];
            for (int64_t k = 0; k < keys; ++k) sum += double(p[size_t(r * stride + k)]) * values[size_t(k * dim + d)];
            expected[size_t(r * dim + d)] = float(sum);
          }
        set().weigh(p.data(), rows, keys, stride, values.data(), dim, out.data(), dim);
        EXPECT_TRUE(close(out, expected, 1e-4)) << keys << " keys, dim " << dim << ", " << rows << " rows";
      }
}

TEST_P(Kernel, RowsReadFromTheCache) {
  for (const int64_t count : {1, 3, 4, 9}) {
    for (const int64_t dim : {2, 16, 37, 128}) {
      const int64_t stride = dim + 5;
      const std::vector<float> q = draw(dim), rows = draw(count * stride), p = draw(count);
      const auto bytes = stored(rows);
      std::vector<float> out(static_cast<size_t>(count)), expected, mixed(size_t(dim), 0.5f), expected_mix;
      for (int64_t j = 0; j < count; ++j) {
        double sum = 0;
        for (int64_t d = 0; d < dim; ++d) sum += double(q[size_t(d)]) * rows[size_t(j * stride + d)];
        expected.push_back(float(sum));
      }
      for (int64_t d = 0; d < dim; ++d) {
        double sum = 0.5;
        for (int64_t j = 0; j < count; ++j) sum += double(p[size_t(j)]) * rows[size_t(j * stride + d)];
        expected_mix.push_back(float(sum));
      }
      set().dots(q.data(), bytes.data(), bf16(), count, dim, stride, out.data());
      set().blend(p.data(), bytes.data(), bf16(), count, dim, stride, mixed.data());
      EXPECT_TRUE(close(out, expected, 1e-4));
      EXPECT_TRUE(close(mixed, expected_mix, 1e-5));
    }
  }
}

TEST_P(Kernel, SoftmaxParts) {
  for (const int64_t count : {1, 7, 16, 33}) {
    std::vector<float> x = draw(count);
    x[0] = -1000;  // far below: exactly zero
    float top = -INFINITY;
    for (const float value : x) top = std::max(top, value);
    EXPECT_EQ(set().largest(x.data(), count), top);
    std::vector<float> expected;
    double sum = 0;
    for (const float value : x) {
      expected.push_back(float(std::exp(double(value) - double(top))));
      sum += std::exp(double(value) - double(top));
    }
    const float got = set().exponentials(x.data(), count, top);
    EXPECT_TRUE(close(x, expected, 3e-7));
    EXPECT_NEAR(got, sum, 1e-6 * sum);
  }
  EXPECT_EQ(set().largest(nullptr, 0), -INFINITY);
  EXPECT_EQ(set().exponentials(nullptr, 0, 0), 0);
  for (const int64_t count : {2, 16, 33}) {  // within whole vectors and behind them
    std::vector<float> x(size_t(count), 1.0f);
    x[0] = NAN, x[size_t(count) - 1] = -INFINITY;
    EXPECT_EQ(set().largest(x.data(), count), count > 2 ? 1.0f : -INFINITY) << "NaN is never the largest";
    EXPECT_TRUE(std::isnan(set().exponentials(x.data(), count, 1))) << "NaN is not hidden";
    EXPECT_TRUE(std::isnan(x[0]));
    EXPECT_EQ(x[size_t(count) - 1], 0) << "exp(-inf)";
  }
}

TEST_P(Kernel, SoftmaxOfTwoParts) {
  const int64_t width = set().width;
  for (const auto& [rows, first_keys, second_keys] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {1, 1, 0}, {1, 0, 5}, {4, 33, 4}, {7, 16, 40}, {13, 100, 13}, {48, 576, 60}}) {
    const auto padded = [&](int64_t keys) { return (keys + width - 1) / width * width; };
    const int64_t at = padded(first_keys), stride = at + padded(second_keys);
    std::vector<float> scores = draw(rows * stride), expected(scores.size(), 0.0f);
    std::vector<int64_t> first, second;
    std::vector<double> sums;
    for (int64_t r = 0; r < rows; ++r) {
      // The first part grows in steps (rows before an image read none of it), the second by one key a row, and its last
      // row reads them all.
      first.push_back(second_keys > 0 && r < 2 ? 0 : r < rows / 2 ? first_keys / 2 + (second_keys == 0) : first_keys);
      if (first.back() > first_keys) first.back() = first_keys;
      second.push_back(std::clamp<int64_t>(second_keys - rows + 1 + r, first.back() == 0, second_keys));
      float* row = scores.data() + r * stride;
      for (float* x = row; x < row + stride; ++x) *x *= 20;
      double top = -INFINITY, sum = 0;
      const auto each = [&](const auto& visit) {
        for (int64_t i = 0; i < first.back(); ++i) visit(i);
        for (int64_t i = 0; i < second.back(); ++i) visit(at + i);
      };
      each([&](int64_t i) { top = std::max(top, double(row[i])); });
      each([&](int64_t i) { sum += expected[size_t(r * stride + i)] = float(std::exp(double(row[i]) - top)); });
      sums.push_back(sum);
      for (int64_t i = first.back(); i < at; ++i) row[i] = NAN;  // what lies there does not matter
      for (int64_t i = at + second.back(); i < stride; ++i) row[i] = INFINITY;
    }
    std::vector<float> got(static_cast<size_t>(rows));
    set().softmax(scores.data(), rows, stride, first.data(), at, second.data(), got.data());
    EXPECT_TRUE(close(scores, expected, 3e-7)) << rows << ' ' << first_keys << ' ' << second_keys;
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_NEAR(got[size_t(r)], sums[size_t(r)], 1e-6 * sums[size_t(r)]);
      for (int64_t i = 0; i < stride; ++i) {
        const bool read = i < at ? i < first[size_t(r)] : i - at < second[size_t(r)];
        EXPECT_TRUE(read || scores[size_t(r * stride + i)] == 0) << r << ' ' << i;
      }
    }
    scores[0] = NAN;
    if (first[0] == 0) continue;
    set().softmax(scores.data(), 1, stride, first.data(), at, second.data(), got.data());
    EXPECT_TRUE(std::isnan(got[0])) << "NaN is not hidden";
  }
}

TEST_P(Kernel, NormsGatesAndRotation) {
  for (const int64_t count : {2, 31, 32, 100}) {
    const std::vector<float> x = draw(count), weight = draw(count), bias = draw(count);
    double sum = 0, square = 0;
    for (const float value : x) sum += value, square += (double(value) - 0.25) * (double(value) - 0.25);
    EXPECT_NEAR(set().sum(x.data(), count), sum, 1e-4);
    EXPECT_NEAR(set().square_sum(x.data(), count, 0.25f), square, 1e-3);
    std::vector<std::byte> out(size_t(count) * size_of(type()));
    std::vector<float> expected;
    for (size_t i = 0; i < x.size(); ++i) expected.push_back((x[i] - 0.5f) * 2.0f * weight[i] + bias[i]);
    set().normalise(x.data(), 0.5f, 2.0f, weight.data(), bias.data(), count, bf16(), out.data());
    EXPECT_TRUE(close_relative(floats(out.data(), count), expected, rounding()));

    auto gate = stored(x);
    const auto up = stored(weight);
    set().gated(gate.data(), up.data(), bf16(), count, gate.data());
    expected.clear();
    for (size_t i = 0; i < x.size(); ++i)
      expected.push_back(float(double(x[i]) / (1 + std::exp(-double(x[i]))) * weight[i]));
    EXPECT_TRUE(close_relative(floats(gate.data(), count), expected, rounding()));

    const int64_t half = count / 2;
    auto turned = stored(x);
    expected = x;
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[size_t(i)], b = x[size_t(half + i)], c = weight[size_t(i)], s = bias[size_t(i)];
      expected[size_t(i)] = a * c - b * s;
      expected[size_t(half + i)] = b * c + a * s;
    }
    set().rotate(turned.data(), bf16(), half, weight.data(), bias.data(), turned.data());
    EXPECT_TRUE(close_relative(floats(turned.data(), count), expected, rounding()));

    set().narrow(x.data(), count, 3.0f, bf16(), out.data());
    expected.clear();
    for (const float value : x) expected.push_back(3.0f * value);
    EXPECT_TRUE(close_relative(floats(out.data(), count), expected, rounding()));
    std::vector<float> wide(static_cast<size_t>(count));
    set().widen(stored(x).data(), bf16(), 1, count, count, 3.0f, wide.data(), count);
    EXPECT_EQ(wide, expected);
  }
}

TEST_P(Kernel, NarrowRoundsToNearestEven) {
  if (!bf16()) {
    EXPECT_EQ(type(), DType::F32);
    return;
  }
  std::vector<float> x{
      1.0f + 1.0f / 256, 1.0f + 3.0f / 256, -1.0f - 1.0f / 256, NAN, INFINITY, 3.3895e38f, 0.0f, 1e-40f};
  for (int copies = 0; copies < 2; ++copies) x.insert(x.end(), x.begin(), x.end());  // vectors and tails
  x.push_back(NAN);
  std::vector<uint16_t> out(x.size());
  set().narrow(x.data(), int64_t(x.size()), 1.0f, true, out.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(out[i], bf16_of_float(x[i])) << x[i];
}

INSTANTIATE_TEST_SUITE_P(Sets, Kernel, ::testing::Combine(::testing::Range(0, all_kernels().count), ::testing::Bool()));

struct Shape {
  int64_t m, n, k;
};
/// Both ways of every shape that they take, with strides, biases and sums.
TEST(MatrixProduct, BothWaysAgreeWithLoops) {
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  for (const Shape s : {Shape{1, 1, 1}, {1, 67, 33}, {2, 130, 64}, {3, 5, 7}, {4, 64, 129}, {9, 31, 40}, {70, 65, 50}})
    for (const DType type : {DType::F32, DType::BF16})
      for (int form = 0; form < 4; ++form) {
        if (type == DType::BF16 && !bf16_is_possible()) continue;
        const DType out_type = form == 3 ? type : DType::F32;
        const int64_t lda = s.k + 3, ldw = s.k + 5, ldo = s.n + 2;
        const auto draw = [&](int64_t count) {
          std::vector<float> values(static_cast<size_t>(count));
          for (float& value : values) value = float_of_bf16(bf16_of_float(normal(random)));
          return values;
        };
        const std::vector<float> a = draw(s.m * lda), w = draw(s.n * ldw), bias = draw(s.n), before = draw(s.m * ldo);
        const auto stored = [](const std::vector<float>& values, DType as) {
          std::vector<std::byte> bytes(values.size() * size_of(as));
          from_float(values.data(), values.size(), as, bytes.data());
          return bytes;
        };
        std::vector<float> expected = before;
        for (int64_t m = 0; m < s.m; ++m)
          for (int64_t n = 0; n < s.n; ++n) {
            double sum = form == 1 ? bias[size_t(n)] : form == 2 ? before[size_t(m * ldo + n)] : 0;
            for (int64_t k = 0; k < s.k; ++k) sum += double(a[size_t(m * lda + k)]) * w[size_t(n * ldw + k)];
            expected[size_t(m * ldo + n)] = float(sum);
          }
        const auto a_bytes = stored(a, type), w_bytes = stored(w, type);
        std::vector<std::byte> packed(packed_bytes(type, s.n, s.k));
        if (!packed.empty()) pack(type, w_bytes.data(), ldw, s.n, s.k, packed.data());
        for (const bool in_blocks : {false, true})
          for (const bool own : {false, true}) {
            if ((own && s.m > 4) || (in_blocks && packed.empty())) continue;
            auto out = stored(before, out_type);
            Gemm product;
            product.type = type, product.m = s.m, product.n = s.n, product.k = s.k;
            product.a = a_bytes.data(), product.lda = lda, product.w = w_bytes.data(), product.ldw = ldw;
            if (in_blocks) product.w = packed.data(), product.ldw = 0, product.packed = true;
            product.bias = form == 1 ? bias.data() : nullptr;
            product.out_type = out_type, product.out = out.data(), product.ldo = ldo, product.accumulate = form == 2;
            own ? gemv(product) : gemm_onednn(product);
            std::vector<float> got(expected.size());
            to_float(out.data(), out_type, got.size(), got.data());
            EXPECT_TRUE(close_relative(got, expected, out_type == DType::BF16 ? 1.0 / 256 : 1e-6))
                << s.m << " x " << s.n << " x " << s.k << ", form " << form << (own ? ", own" : ", oneDNN")
                << (in_blocks ? ", packed" : "");
            for (int64_t m = 0; m < s.m; ++m)  // between the rows nothing is touched
              EXPECT_EQ(std::memcmp(out.data() + size_t(m * ldo + s.n) * size_of(out_type),
                                    stored(before, out_type).data() + size_t(m * ldo + s.n) * size_of(out_type),
                                    2 * size_of(out_type)),
                        0);
          }
      }
}

// Every kernel set, on a block laid out by the words of cpu/packed.h.
TEST(MatrixProduct, PackedBlocksOfEverySet) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const KernelList list = all_kernels();
  for (const int64_t k : {1, 2, 33, 64, 256, 257, 4100})
    for (const bool bf16 : {false, true})
      for (int64_t rows = 1; rows <= 4; ++rows) {
        const int64_t stride = k + 1;
        std::vector<float> a(size_t(rows * stride), 0.0f), w(size_t(64 * k)), expected(size_t(rows * 64));
        for (int64_t m = 0; m < rows; ++m)
          for (int64_t i = 0; i < k; ++i) a[size_t(m * stride + i)] = float_of_bf16(bf16_of_float(normal(random)));
        for (float& value : w) value = float_of_bf16(bf16_of_float(normal(random)));
        std::vector<float> plain(size_t(64 * k));
        std::vector<uint16_t> half(size_t(64 * (k + 1)), 0);
        for (int64_t n = 0; n < 64; ++n)
          for (int64_t i = 0; i < k; ++i) {
            plain[size_t(i * 64 + n)] = w[size_t(n * k + i)];
            half[size_t(i / 2 * 128 + n * 2 + i % 2)] = bf16_of_float(w[size_t(n * k + i)]);
          }
        for (int64_t m = 0; m < rows; ++m)
          for (int64_t n = 0; n < 64; ++n) {
            double sum = 0;
            for (int64_t i = 0; i < k; ++i) sum += double(a[size_t(m * stride + i)]) * w[size_t(n * k + i)];
            expected[size_t(m * 64 + n)] = float(sum);
          }
        for (int set = 0; set < list.count; ++set) {
          std::vector<float> got(expected.size());
          const void* block = bf16 ? static_cast<const void*>(half.data()) : plain.data();
          list.sets[set]->gemv_packed(a.data(), rows, stride, block, bf16, k, got.data());
          EXPECT_TRUE(close_relative(got, expected, 1e-6)) << list.sets[set]->name << ", k " << k << ", rows " << rows;
        }
      }
}

TEST(MatrixProduct, OwnMistakesAreCaught) {
  float x[4] = {};
  Gemm product;
  product.m = product.n = product.k = 2;
  product.a = product.w = product.out = x;
  product.lda = product.ldw = 1, product.ldo = 2;
  EXPECT_THROW(gemm_onednn(product), InternalError);
}

}  // namespace
}  // namespace yopo::runtime::cpu

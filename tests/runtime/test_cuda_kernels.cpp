// The CUDA backend's row-wise and element-wise kernels through their launchers against the CPU's operations. Inputs are
// numbers that the element type holds exactly and the CPU computes in fp32, so that what may differ is one rounding of
// each result.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/error.h"
#include "runtime/cuda/kernels.h"
#include "tests/runtime/cuda_arrays.h"
#include "tests/support/close.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

using yopo::testing::cuda_types;
using yopo::testing::OnDevice;
using yopo::testing::rounded_once;

class CudaKernel : public ::testing::TestWithParam<DType> {
 protected:
  DType type() const { return GetParam(); }
  std::vector<float> draw(int64_t count, float scale = 1) { return yopo::testing::draw(random_, count, type(), scale); }
  std::vector<float> draw_float(int64_t count) { return yopo::testing::draw(random_, count, DType::F32); }
  OnDevice typed(const std::vector<float>& values, size_t shift = 0) const { return OnDevice(values, type(), shift); }
  static OnDevice floats(const std::vector<float>& values, size_t shift = 0) {
    return OnDevice(values, DType::F32, shift);
  }
  const Ops& cpu() const { return cpu_ops(); }
  std::mt19937 random_{7};
};

struct Rows {
  int64_t rows, columns;
};
constexpr Rows row_shapes[] = {{1, 1},    {1, 8},    {3, 7},    {5, 8},    {9, 100},  {19, 1000},
                               {8, 1024}, {2, 1032}, {1, 4096}, {3, 4100}, {2, 5001}, {1, 8192}};

TEST_P(CudaKernel, Norms) {
  for (const auto [rows, columns] : row_shapes)
    for (const size_t shift : {0, 1}) {
      const auto x = draw_float(rows * columns), weight = draw_float(columns), bias = draw_float(columns);
      const auto on_x = floats(x, shift), on_weight = floats(weight, shift), on_bias = floats(bias, shift);
      std::vector<float> expected(x.size());
      const auto out = typed(std::vector<float>(x.size(), 9.0f), shift);
      cpu().rms_norm(x.data(), weight.data(), 1e-5, rows, columns, DType::F32, expected.data());
      rms_norm(on_x.as<float>(), on_weight.as<float>(), 1e-5, rows, columns, type(), out.data());
      EXPECT_TRUE(rounded_once(out.floats(), expected, type())) << rows << " x " << columns << " + " << shift;

      cpu().layer_norm(x.data(), weight.data(), bias.data(), 1e-5, rows, columns, DType::F32, expected.data());
      layer_norm(on_x.as<float>(), on_weight.as<float>(), on_bias.as<float>(), 1e-5, rows, columns, type(), out.data());
      EXPECT_TRUE(rounded_once(out.floats(), expected, type())) << rows << " x " << columns << " + " << shift;
    }
}

TEST_P(CudaKernel, NormsTakeEpsilonAndKeepNanInItsRow) {
  const std::vector<float> small(64, 1e-4f), one(64, 1.0f);
  const auto x = floats(small), weight = floats(one), out = typed(small);
  rms_norm(x.as<float>(), weight.as<float>(), 1e-6, 1, 64, type(), out.data());
  EXPECT_TRUE(rounded_once(out.floats(), std::vector<double>(64, 1e-4 / std::sqrt(1e-8 + 1e-6)), type()));

  std::vector<float> rows(size_t(3) * 64, 2.0f);
  rows[64 + 5] = NAN;
  const auto with_nan = floats(rows), result = typed(rows);
  rms_norm(with_nan.as<float>(), weight.as<float>(), 1e-6, 3, 64, type(), result.data());
  const auto got = result.floats();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i / 64 == 1) << i;
}

TEST_P(CudaKernel, LayerNormOfRowsFarFromZero) {
  for (const int64_t columns : {128, 1500}) {
    auto x = draw_float(columns);
    for (float& value : x) value += 1000;
    double mean = 0, variance = 0;
    for (const float value : x) mean += double(value) / double(columns);
    for (const float value : x) variance += (value - mean) * (value - mean) / double(columns);
    std::vector<double> expected;
    for (const float value : x) expected.push_back((value - mean) / std::sqrt(variance + 1e-5));
    const auto on_x = floats(x), ones = floats(std::vector<float>(x.size(), 1)),
               zeros = floats(std::vector<float>(x.size(), 0));
    const auto out = typed(x);
    layer_norm(on_x.as<float>(), ones.as<float>(), zeros.as<float>(), 1e-5, 1, columns, type(), out.data());
    EXPECT_TRUE(rounded_once(out.floats(), expected, type(), 1e-4)) << "fp32 holds 1000 to 6e-5";
  }
}

TEST_P(CudaKernel, NormsOfHeads) {
  struct Shape {
    int64_t rows, heads, head_dim, stride;
  };
  for (const Shape s :
       {Shape{1, 1, 1, 1}, {3, 2, 8, 19}, {5, 3, 24, 72}, {9, 2, 80, 168}, {70, 3, 128, 512}, {2, 5, 126, 1387}})
    for (const size_t shift : {0, 1}) {
      auto x = draw(s.rows * s.stride);
      const auto weight = draw_float(s.head_dim);
      const auto on_x = typed(x, shift), on_weight = floats(weight, shift);
      cpu().norm_heads(x.data(), DType::F32, s.rows, s.heads, s.head_dim, s.stride, weight.data(), 1e-5);
      norm_heads(on_x.data(), type(), s.rows, s.heads, s.head_dim, s.stride, on_weight.as<float>(), 1e-5);
      EXPECT_TRUE(rounded_once(on_x.floats(), x, type())) << s.rows << " x " << s.heads << " x " << s.head_dim;
    }
}

TEST(CudaMix, RowsByWeight) {
  std::mt19937 random(9);
  for (const auto [rows, columns] : row_shapes)
    for (const size_t shift : {0, 1}) {
      const auto from = yopo::testing::draw(random, 7 * columns, DType::F32);
      std::vector<int32_t> index;
      std::vector<float> weight;
      for (int64_t i = 0; i < 4 * rows; ++i) {
        weight.push_back(i % 3 == 1 ? 0.0f : 0.25f * float(i % 5));
        index.push_back(weight.back() == 0 ? -1 : int32_t(random() % 7));  // what has no weight is nowhere
      }
      std::vector<float> expected(size_t(rows * columns));
      cpu_ops().mix_rows(from.data(), index.data(), weight.data(), rows, columns, expected.data());
      for (int64_t i = 0; i < columns; ++i) {
        double sum = 0;
        for (size_t part = 0; part < 4; ++part)
          if (weight[part] > 0) sum += double(weight[part]) * double(from[size_t(index[part] * columns + i)]);
        EXPECT_NEAR(expected[size_t(i)], sum, 1e-5);
      }
      const OnDevice on_from(from, DType::F32, shift), on_weight(weight, DType::F32),
          out(std::vector<float>(expected.size(), 9.0f), DType::F32, shift);
      const OnDevice on_index(index);
      mix_rows(on_from.as<float>(), on_index.as<int32_t>(), on_weight.as<float>(), rows, columns, out.as<float>());
      EXPECT_TRUE(rounded_once(out.floats(), expected, DType::F32)) << rows << " x " << columns << " + " << shift;
    }
}

TEST_P(CudaKernel, Rope) {
  struct Shape {
    int64_t rows, heads, head_dim, stride;
  };
  for (const Shape s : {Shape{1, 1, 2, 2},
                        {3, 2, 8, 19},
                        {5, 3, 16, 48},
                        {7, 2, 24, 48},
                        {9, 2, 80, 168},
                        {300, 3, 64, 200},
                        {2, 28, 128, int64_t(28) * 128},
                        {1, 33, 128, int64_t(33) * 128},
                        {2, 11, 126, 1387},
                        {40, 1, 32, 64}})
    for (const size_t shift : {0, 1}) {
      auto x = draw(s.rows * s.stride);
      const auto cos = draw_float(s.rows * s.head_dim / 2), sin = draw_float(s.rows * s.head_dim / 2);
      const auto on_x = typed(x, shift), on_cos = floats(cos), on_sin = floats(sin);
      cpu().rope(x.data(), DType::F32, s.rows, s.heads, s.head_dim, s.stride, cos.data(), sin.data());
      rope(on_x.data(), type(), s.rows, s.heads, s.head_dim, s.stride, on_cos.as<float>(), on_sin.as<float>());
      EXPECT_TRUE(rounded_once(on_x.floats(), x, type()))
          << s.rows << " x " << s.heads << " x " << s.head_dim << " + " << shift;
    }
}

TEST_P(CudaKernel, StoreIntoManySegments) {
  for (const int targets : {1, 2, 24, 25, 61})
    for (const int64_t head_dim : {8, 24, 64}) {
      const size_t shift = head_dim == 64 && targets == 2;
      const int64_t kv_heads = 3, rows = 90, stride = kv_heads * head_dim + (targets == 1 ? 5 : 16);
      const auto k = draw(rows * stride), v = draw(rows * stride), rest = draw(rows * stride);
      const auto cos = draw_float(rows * head_dim / 2), sin = draw_float(rows * head_dim / 2);
      const auto on_k = typed(k), on_v = typed(v), on_rest = typed(rest), on_cos = floats(cos), on_sin = floats(sin);
      const int64_t v_heads = targets % (kv_heads + 1);
      std::vector<std::vector<float>> keys, values;
      std::vector<OnDevice> on_keys, on_values;
      std::vector<StoreRows> host, device;
      for (int i = 0; i < targets; ++i) {
        StoreRows target;
        target.row = i % 40, target.rows = i % 7 == 3 ? 0 : 1 + i % 50, target.at = i % 5;
        target.segment.heads = 1 + i % kv_heads, target.segment.stride = target.at + target.rows + i % 2;
        const int64_t size = target.segment.heads * target.segment.stride * head_dim;
        keys.push_back(draw(size)), values.push_back(draw(size));
        on_keys.push_back(typed(keys.back(), shift)), on_values.push_back(typed(values.back(), shift));
        host.push_back(target), device.push_back(target);
      }
      for (size_t i = 0; i < host.size(); ++i) {
        host[i].segment.keys = keys[i].data(), host[i].segment.values = values[i].data();
        device[i].segment.keys = on_keys[i].data(), device[i].segment.values = on_values[i].data();
      }
      cpu().store({k.data(), v.data(), rest.data(), v_heads, stride}, DType::F32, head_dim, cos.data(), sin.data(),
                  host);
      for (const StoreRows& target : host)  // the CPU's values are copies of the right rows
        for (int64_t head = 0; target.rows > 0 && head < target.segment.heads; ++head)
          EXPECT_EQ(static_cast<const float*>(target.segment.values)[(head * target.segment.stride + target.at) * head_dim],
                    (head < v_heads ? v : rest)[size_t(target.row * stride + head * head_dim)]);
      store({on_k.data(), on_v.data(), on_rest.data(), v_heads, stride}, type(), head_dim, on_cos.as<float>(),
            on_sin.as<float>(), device);
      for (size_t i = 0; i < host.size(); ++i) {
        if (keys[i].empty()) continue;
        EXPECT_TRUE(rounded_once(on_keys[i].floats(), keys[i], type())) << "target " << i << " of " << targets;
        EXPECT_EQ(on_values[i].floats(), values[i]) << "target " << i << " of " << targets;
      }
    }
}

TEST_P(CudaKernel, StoreRefusesRowsPastTheSegment) {
  const auto data = typed(std::vector<float>(64, 1.0f));
  const auto table = floats(std::vector<float>(32, 1.0f));
  const StoreRows past{0, 2, 1, {data.data(), data.data(), 1, 2, 0}};
  const KvRows rows{data.data(), data.data(), data.data(), 1, 8};
  EXPECT_THROW(store(rows, type(), 8, table.as<float>(), table.as<float>(), {&past, 1}), InternalError);
}

TEST_P(CudaKernel, StoreOfADecodeStep) {
  for (const int requests : {1, 3, 64, 65, 130})
    for (const int64_t head_dim : {8, 24, 128}) {
      const int64_t kv_heads = requests == 3 ? 5 : 2, width = kv_heads * head_dim + (requests == 64 ? 16 : 0);
      const auto k = draw(requests * width), v = draw(requests * width), rest = draw(requests * width);
      const auto cos = draw_float(requests * head_dim / 2), sin = draw_float(requests * head_dim / 2);
      const auto on_k = typed(k), on_v = typed(v), on_rest = typed(rest), on_cos = floats(cos), on_sin = floats(sin);
      std::vector<std::vector<float>> keys, values;
      std::vector<OnDevice> on_keys, on_values;
      std::vector<DecodeRequest> host, device;
      std::vector<int32_t> counts;
      for (int i = 0; i < requests; ++i) {
        const int64_t stride = 1 + i % 6;
        counts.push_back(int32_t(int64_t(i) * 5 % stride));
        keys.push_back(draw(kv_heads * stride * head_dim)), values.push_back(draw(kv_heads * stride * head_dim));
        const size_t shift = requests == 3;
        on_keys.push_back(typed(keys.back(), shift)), on_values.push_back(typed(values.back(), shift));
        DecodeRequest request;
        request.text = {nullptr, nullptr, kv_heads, stride, 0};
        host.push_back(request), device.push_back(request);
      }
      for (size_t i = 0; i < host.size(); ++i) {
        host[i].text.keys = keys[i].data(), host[i].text.values = values[i].data();
        device[i].text.keys = on_keys[i].data(), device[i].text.values = on_values[i].data();
      }
      const OnDevice on_counts(counts);
      cpu().store_decode({DType::F32, kv_heads, head_dim, {k.data(), v.data(), rest.data(), 1, width}, cos.data(),
                          sin.data(), counts.data(), host});
      store_decode({type(), kv_heads, head_dim, {on_k.data(), on_v.data(), on_rest.data(), 1, width},
                    on_cos.as<float>(), on_sin.as<float>(), on_counts.as<int32_t>(), device});
      for (size_t i = 0; i < host.size(); ++i) {
        EXPECT_TRUE(rounded_once(on_keys[i].floats(), keys[i], type())) << "request " << i << " of " << requests;
        EXPECT_EQ(on_values[i].floats(), values[i]) << "request " << i << " of " << requests;
      }
    }
}

TEST_P(CudaKernel, AFullSegmentIsNotWrittenPast) {
  const auto row = draw(16), held = draw(int64_t(2) * 16 * 3);
  const auto k = typed(row), keys = typed(held), values = typed(held), table = floats(std::vector<float>(8, 0.5f));
  for (const int32_t count : {3, -1}) {
    const OnDevice counts(std::vector<int32_t>{count});
    DecodeRequest request;
    request.text = {keys.data(), values.data(), 1, 3, 0};  // the memory behind holds three rows more
    store_decode({type(), 1, 16, {k.data(), k.data(), k.data(), 1, 16}, table.as<float>(), table.as<float>(),
                  counts.as<int32_t>(), {&request, 1}});
    EXPECT_EQ(keys.floats(), held);
    EXPECT_EQ(values.floats(), held);
  }
}

constexpr int64_t flat_counts[] = {1, 7, 8, 9, 255, 2048, 2051, 70000};

TEST_P(CudaKernel, Gated) {
  for (const int64_t count : flat_counts)
    for (const size_t shift : {0, 1}) {
      auto gate = draw(count, 4);
      const auto up = draw(count);
      const auto on_gate = typed(gate), on_up = typed(up, shift);
      cpu().gated(gate.data(), up.data(), DType::F32, 1, count, count, gate.data());
      gated(on_gate.data(), on_up.data(), type(), 1, count, count, on_gate.data());
      EXPECT_TRUE(rounded_once(on_gate.floats(), gate, type())) << count << " + " << shift;
    }
}

TEST_P(CudaKernel, GatedSideBySide) {
  for (const int64_t columns : {1, 7, 64, 136, 9000})
    for (const int64_t rows : {1, 5, 300}) {
      if (rows * columns > 100000) continue;
      const auto both = draw(rows * 2 * columns, 4);  // [gate | up] a row
      const auto on_both = typed(both), on_out = typed(std::vector<float>(size_t(rows * columns), 9));
      std::vector<float> out(size_t(rows * columns)), gate(out.size()), up(out.size());
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < columns; ++i) {
          gate[size_t(row * columns + i)] = both[size_t(row * 2 * columns + i)];
          up[size_t(row * columns + i)] = both[size_t(row * 2 * columns + columns + i)];
        }
      cpu().gated(gate.data(), up.data(), DType::F32, 1, rows * columns, rows * columns, gate.data());
      cpu().gated(both.data(), both.data() + columns, DType::F32, rows, columns, 2 * columns, out.data());
      EXPECT_EQ(out, gate) << rows << " x " << columns;
      gated(on_both.data(), offset(on_both.data(), type(), columns), type(), rows, columns, 2 * columns, on_out.data());
      EXPECT_TRUE(rounded_once(on_out.floats(), out, type())) << rows << " x " << columns;
    }
}

TEST_P(CudaKernel, Activations) {
  for (const Activation activation : {Activation::Silu, Activation::Gelu, Activation::QuickGelu, Activation::GeluTanh})
    for (const int64_t count : flat_counts)
      for (const size_t shift : {0, 1}) {
        auto x = draw(count, 3);
        const auto on_x = typed(x, shift);
        cpu().activate(activation, x.data(), DType::F32, count);
        activate(activation, on_x.data(), type(), count);
        EXPECT_TRUE(rounded_once(on_x.floats(), x, type())) << int(activation) << ": " << count << " + " << shift;
      }
}

TEST_P(CudaKernel, ActivationsFarOut) {
  for (const Activation activation :
       {Activation::Silu, Activation::Gelu, Activation::QuickGelu, Activation::GeluTanh}) {
    const auto x = typed({-INFINITY, -30000.0f, -300.0f, 300.0f, 30000.0f, INFINITY, NAN});
    activate(activation, x.data(), type(), 7);
    const auto got = x.floats();
    for (size_t i = 1; i < 3; ++i) EXPECT_EQ(got[i], 0) << "vanishes far below";
    for (size_t i = 3; i < 6; ++i)
      EXPECT_EQ(got[i], yopo::testing::rounded({300.0f, 30000.0f, INFINITY}, type())[i - 3]);
    EXPECT_TRUE(std::isnan(got[0])) << "-inf times 0";
    EXPECT_TRUE(std::isnan(got[6]));
  }
}

TEST_P(CudaKernel, Biases) {
  for (const auto [rows, columns] : row_shapes)
    for (const size_t shift : {0, 1}) {
      const int64_t stride = columns + (columns % 8 == 0 ? 8 : 3);
      const auto bias = draw_float(columns), x = draw(rows * stride);
      const auto on_bias = floats(bias), on_x = typed(x, shift);
      std::vector<float> expected = x;
      for (int64_t i = 0; i < rows * stride; ++i)
        if (i % stride < columns) expected[size_t(i)] += bias[size_t(i % stride)];
      add_bias_to(on_x.data(), type(), on_bias.as<float>(), rows, columns, stride);
      EXPECT_TRUE(rounded_once(on_x.floats(), expected, type())) << rows << " x " << columns << " + " << shift;

      auto dense = draw_float(rows * columns);
      const auto on_dense = floats(dense, shift);
      cpu().add_bias(dense.data(), bias.data(), rows, columns);
      add_bias(on_dense.as<float>(), on_bias.as<float>(), rows, columns);
      EXPECT_EQ(on_dense.floats(), dense) << rows << " x " << columns << " + " << shift;
    }
}

TEST_P(CudaKernel, ScaledRows) {
  for (const auto [rows, columns] : row_shapes)
    for (const size_t shift : {0, 1}) {
      auto x = draw_float(rows * columns);
      const auto scale = draw_float(columns), y = draw_float(rows * columns);
      const auto on_x = floats(x, shift), on_scale = floats(scale), on_y = floats(y);
      cpu().add_scaled(x.data(), scale.data(), y.data(), rows, columns);
      add_scaled(on_x.as<float>(), on_scale.as<float>(), on_y.as<float>(), rows, columns);
      EXPECT_TRUE(rounded_once(on_x.floats(), x, DType::F32)) << rows << " x " << columns << " + " << shift;
    }
}

TEST_P(CudaKernel, EmbeddedPatches) {
  for (const int64_t images : {1, 3})
    for (const int64_t positions : {1, 2, 17})
      for (const int64_t columns : {1, 4, 130, 1028})
        for (const size_t shift : {0, 1})
          for (const auto [with_first, with_places] : {std::pair{true, true}, {false, true}, {true, false}}) {
            const int64_t rows = images * (positions - (with_first ? 1 : 0));
            const auto patches = draw_float(rows * columns), first = draw_float(columns);
            const auto places = draw_float(positions * columns);
            std::vector<float> expected(size_t(images * positions * columns));
            const auto on_patches = floats(patches), on_first = floats(first, shift), on_places = floats(places);
            const auto out = floats(std::vector<float>(expected.size(), 9));
            cpu().embed_patches(patches.data(), with_first ? first.data() : nullptr,
                                with_places ? places.data() : nullptr, images, positions, columns, expected.data());
            embed_patches(on_patches.as<float>(), with_first ? on_first.as<float>() : nullptr,
                          with_places ? on_places.as<float>() : nullptr, images, positions, columns, out.as<float>());
            EXPECT_EQ(out.floats(), expected) << images << " x " << positions << " x " << columns;
          }
}

TEST_P(CudaKernel, DroppedRows) {
  for (const int64_t groups : {1, 4})
    for (const int64_t rows : {1, 5, 33})
      for (const int64_t skip : {0, 1, 4})
        for (const int64_t columns : {1, 8, 100, 1032}) {
          if (skip >= rows) continue;
          const size_t shift = columns == 8 && rows == 5;
          const auto x = draw_float(groups * rows * columns);
          std::vector<float> expected(size_t(groups * (rows - skip) * columns));
          const auto on_x = floats(x), out = typed(std::vector<float>(expected.size(), 9), shift);
          cpu().drop_rows(x.data(), groups, rows, skip, columns, DType::F32, expected.data());
          drop_rows(on_x.as<float>(), groups, rows, skip, columns, type(), out.data());
          EXPECT_EQ(out.floats(), yopo::testing::rounded(expected, type())) << groups << ", " << rows << " - " << skip;
        }
}

TEST_P(CudaKernel, NothingToDoIsNothingDone) {
  const auto held = draw(64);
  const auto data = typed(held);
  const auto numbers = floats(std::vector<float>(64, 1));
  float* const x = numbers.as<float>();
  rms_norm(x, x, 1e-5, 0, 8, type(), data.data());
  layer_norm(x, x, x, 1e-5, 8, 0, type(), data.data());
  rope(data.data(), type(), 0, 1, 8, 8, x, x);
  rope(data.data(), type(), 1, 0, 8, 8, x, x);
  store({data.data(), data.data(), data.data(), 1, 8}, type(), 8, x, x, {});
  store_decode({type(), 1, 8, {data.data(), data.data(), data.data(), 1, 8}, x, x, nullptr, {}});
  gated(data.data(), data.data(), type(), 1, 0, 0, data.data());
  activate(Activation::Gelu, data.data(), type(), 0);
  add_bias_to(data.data(), type(), x, 0, 8, 8);
  drop_rows(x, 1, 4, 4, 8, type(), data.data());
  EXPECT_EQ(data.floats(), held);
  embed_patches(x, x, x, 0, 3, 8, x);
  EXPECT_EQ(numbers.floats(), std::vector<float>(64, 1));
}

INSTANTIATE_TEST_SUITE_P(Types, CudaKernel, ::testing::ValuesIn(cuda_types),
                         [](const auto& info) { return std::string(short_name(info.param)); });

TEST(CudaKernels, OtherTypesAreRefused) {
  float* const x = nullptr;
  for (const DType type : {DType::F64, DType::I32, DType::U8}) {
    EXPECT_THROW(rms_norm(x, x, 1e-5, 1, 1, type, x), InternalError);
    EXPECT_THROW(gated(x, x, type, 1, 1, 1, x), InternalError);
    EXPECT_THROW(rope(x, type, 1, 1, 2, 2, x, x), InternalError);
    EXPECT_THROW(drop_rows(x, 1, 1, 0, 1, type, x), InternalError);
  }
}

}  // namespace
}  // namespace yopo::runtime::YOPO_CUDA_SPACE

// Where weights lie and how they are converted.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "core/error.h"
#include "runtime/ops.h"
#include "tests/runtime/fixtures.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using runtime::Engine;

class Stored : public ::testing::Test {
 protected:
  /// The fixture model with all weights stored as `type`; the first element of `poisoned` (if any) is NaN.
  OpenModel converted(DType type, const std::string& poisoned = "") {
    const fs::path from = testing::fixture("llava_hf/model");
    fs::copy_file(from / "config.json", folder_ / "config.json", fs::copy_options::overwrite_existing);
    std::map<std::string, OwnedTensor> tensors;
    const SafetensorsFile file = SafetensorsFile::open(from / "model.safetensors");
    for (const auto& [name, view] : file.tensors()) {
      std::vector<float> values = view.floats();
      if (name == poisoned) values[0] = NAN;
      OwnedTensor tensor{type, view.shape, std::vector<std::byte>(values.size() * size_of(type))};
      from_float(values.data(), values.size(), type, tensor.bytes.data());
      tensors[name] = std::move(tensor);
    }
    write_safetensors(folder_ / "model.safetensors", tensors);
    return open_model(folder_.path());
  }
  testing::TemporaryFolder folder_;
};

Plan prefix_plan(const DecoderSpec& spec) {
  Plan plan = dense_plan(spec);
  set_visual_layers(plan, 3);
  for (LayerPlan& layer : plan.layers) layer.heads.back() = layer.updates.back() = 0;
  plan.layers[0].neurons = Neurons{0, 1, 2};
  return plan;
}

TEST_F(Stored, PrefixPlansUseTheMappedWeights) {
  const OpenModel model = open_model(testing::fixture("llava_hf/model"));
  const Engine in_place(model, prefix_plan(model.spec.text), {.dtype = "fp32", .pack = false});
  // Only vectors are copied: a few kilobytes.
  EXPECT_LT(in_place.weight_bytes_owned(), 64 * 1024);
  Plan other = prefix_plan(model.spec.text);
  other.layers[0].neurons = Neurons{7};
  const Engine reordered(model, other, {.dtype = "fp32", .pack = false});
  const int64_t copied = reordered.weight_bytes_owned() - in_place.weight_bytes_owned();
  EXPECT_EQ(copied, int64_t(3) * 4 * model.spec.text.hidden_size * model.spec.text.intermediate_size)
      << "one layer's FFN";
}

// Packed weights are all there is of a layer: a copy of the stored ones, but for padding.
TEST_F(Stored, PackedWeightsAreHeldOnce) {
  const OpenModel model = open_model(testing::fixture("llava_hf/model"));
  const Plan plan = prefix_plan(model.spec.text);
  const Engine rows(model, plan, {.dtype = "fp32", .pack = false}), packed(model, plan, {.dtype = "fp32"});
  int64_t padded = 0;
  for (const TensorSlot& slot : tensor_table(model.spec)) {
    if (slot.shape.size() < 2 || slot.role == Role::EmbedTokens) continue;
    const int64_t n = slot.shape[0], k = element_count(slot.shape, slot.name) / n;
    padded += int64_t(runtime::cpu_ops().packed_bytes(DType::F32, n, k));
  }
  const int64_t owned = packed.weight_bytes_owned() - rows.weight_bytes_owned();
  const bool here = runtime::cpu_ops().packed_bytes(DType::F32, 64, 64) > 0;  // else nothing is copied
  EXPECT_EQ(owned > 0, here);
  EXPECT_LE(owned, padded + 4 * 3 * 64 * 4 * model.spec.text.hidden_size) << "a plan's cuts pad, too";
  const Engine within(model, plan, {.dtype = "fp32", .memory = 1 << 30});
  EXPECT_LE(within.weight_bytes_owned(), rows.weight_bytes_owned()) << "a budget: rows where they lie";
  const ModelInput input = testing::read_case("llava_hf/cases/single").embedded();
  EXPECT_EQ(within.trace(input, {}).hidden, rows.trace(input, {}).hidden);
  EXPECT_TRUE(testing::close_relative(packed.trace(input, {}).hidden, rows.trace(input, {}).hidden, 1e-5));
}

/// The CPU's table with a packed form of its own, rows in blocks of 64: what is cut, merged and joined is so on every
/// CPU.
const runtime::Ops& packing_ops() {
  static const runtime::Ops ops = [] {
    runtime::Ops packing = runtime::cpu_ops();
    packing.packed_bytes = [](DType type, int64_t n, int64_t k) {
      return size_t((n + 63) / 64 * 64 * k) * size_of(type);
    };
    packing.pack = [](DType type, const void* w, int64_t ldw, int64_t n, int64_t k, void* out) {
      for (int64_t row = 0; row < n; ++row)
        std::memcpy(runtime::offset(out, type, row * k), runtime::offset(w, type, row * ldw),
                    size_t(k) * size_of(type));
    };
    packing.gemm = [](const runtime::Gemm& gemm) {
      runtime::Gemm rows = gemm;
      if (rows.packed) rows.packed = false, rows.ldw = rows.k;
      runtime::cpu_ops().gemm(rows);
    };
    return packing;
  }();
  return ops;
}

TEST(Merged, PackedPiecesAreTheRowsTheyStandFor) {
  std::mt19937 random(21);
  ModelSpec spec = testing::small_spec();
  for (int i = 0; i < 24; ++i) {
    SCOPED_TRACE(i);
    spec.text.head_dim = i % 2 ? 64 : 10;  // tiles that join, and tiles that do not
    spec.text.intermediate_size = i % 3 ? 37 : 1200;
    const Plan plan = testing::drawn_plan(spec.text, random);
    runtime::Options packed{.dtype = "fp32"}, rows{.dtype = "fp32", .pack = false};
    packed.ops = &packing_ops();
    const Engine one(spec, plan, packed, 3), other(spec, plan, rows, 3);
    const ModelInput input = testing::drawn_input(spec.text, random, 1 + i % 2);
    TraceOptions options;
    options.decode = {1, 2};
    const Trace a = one.trace(input, options), b = other.trace(input, options);
    EXPECT_TRUE(testing::close_relative(a.hidden, b.hidden, 1e-5));
    EXPECT_TRUE(testing::close_relative(a.decode_logits, b.decode_logits, 1e-5));
    EXPECT_TRUE(testing::close_relative(one.dense().trace(input, options).decode_logits,
                                        other.dense().trace(input, options).decode_logits, 1e-5));
  }
}

TEST_F(Stored, HalfPrecisionIsConverted) {
  const ModelInput input = testing::read_case("llava_hf/cases/single").embedded();
  const OpenModel original = open_model(testing::fixture("llava_hf/model"));
  const std::vector<float> expected =
      Engine(original, dense_plan(original.spec.text), {.dtype = "fp32"}).trace(input, {}).hidden;
  for (const DType type : {DType::F16, DType::BF16}) {
    const OpenModel model = converted(type);
    const std::vector<float> got =
        Engine(model, dense_plan(model.spec.text), {.dtype = "fp32"}).trace(input, {}).hidden;
    EXPECT_TRUE(testing::close_relative(got, expected, type == DType::F16 ? 5e-3 : 4e-2));
    EXPECT_FALSE(testing::close_relative(got, expected, 1e-6)) << "the stored weights are rounded";
  }
}

TEST_F(Stored, NaNIsNamed) {
  const std::string name = "language_model.model.layers.1.mlp.up_proj.weight";
  const OpenModel model = converted(DType::F16, name);
  try {
    const Engine engine(model, dense_plan(model.spec.text), {.dtype = "fp32"});
    FAIL() << "a NaN was converted";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
  }
  // A NaN in a tensor that is used in place shows itself in generate.
  const OpenModel mapped = converted(DType::F32, name);
  const Engine engine(mapped, dense_plan(mapped.spec.text), {.dtype = "fp32"});
  EXPECT_THROW(engine.generate({testing::read_case("llava_hf/cases/single").embedded()}, 2), UserError);
}

}  // namespace
}  // namespace yopo

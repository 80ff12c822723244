#include <gtest/gtest.h>

#include <cmath>

#include "compress/make_plan.h"
#include "core/error.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "tests/formats/torch_bytes.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path heads_fixture = fs::path(YOPO_TEST_DATA) / "fixtures" / "llava_hf" / "heads";

// Statistics of S samples that all have `ratio` [L, H].
Statistics same_samples(int64_t samples, int64_t layers, int64_t heads, const std::vector<double>& ratio) {
  Statistics statistics;
  statistics.layers = layers;
  statistics.heads = heads;
  for (int64_t sample = 0; sample < samples; ++sample) {
    statistics.ids.push_back(std::to_string(sample));
    statistics.ratio.insert(statistics.ratio.end(), ratio.begin(), ratio.end());
  }
  return statistics;
}

HeadOptions keep(Keep keep, Scope scope = Scope::Layer) {
  HeadOptions options;
  options.keep = keep;
  options.scope = scope;
  return options;
}
Keep fraction(double value) { return {.fraction = true, .value = value}; }
Keep count(double value) { return {.fraction = false, .value = value}; }

// [2 layers, 4 heads]
Statistics eight() { return same_samples(3, 2, 4, {0.1, 0.4, 0.3, 0.2, 0.8, 0.5, 0.6, 0.7}); }

TEST(SelectHeads, ThresholdAndVoteAsTheReference) {
  const SafetensorsFile file = SafetensorsFile::open(heads_fixture / "ratios.safetensors");
  const Json facts = read_json(heads_fixture / "ratios.json");
  for (const std::string kind : {"prefill", "decode1"}) {
    SCOPED_TRACE(kind);
    const TensorView& ratio = file.at("ratio_" + kind);
    Statistics statistics;
    statistics.layers = ratio.shape[1];
    statistics.heads = ratio.shape[2];
    for (int64_t sample = 0; sample < ratio.shape[0]; ++sample) statistics.ids.push_back(std::to_string(sample));
    for (float value : ratio.floats()) statistics.ratio.push_back(value);
    HeadOptions options;
    options.threshold = facts["threshold_" + kind].get<double>();
    options.vote = facts["frac"].get<double>();
    options.exempt_layers = facts["always_layers"].get<int64_t>();
    HeadMask mask = select_heads(statistics, options, "test");
    const auto flat = [](const HeadMask& rows) {
      std::vector<int64_t> values;
      for (const auto& row : rows) values.insert(values.end(), row.begin(), row.end());
      return values;
    };
    const auto expected = file.at("mask_majority_" + kind).ints();
    ASSERT_GT(std::count(expected.begin(), expected.end(), 0), 0);
    EXPECT_EQ(flat(mask), expected);
    EXPECT_EQ(flat(select_updates(statistics, options, HeadMask(5, std::vector<uint8_t>(4, 1)), "test")), expected);
    // Without a vote to win, a single sample decides: mask_single is the first sample's own mask without exemption.
    statistics.ids.resize(1);
    statistics.ratio.resize(size_t(statistics.layers * statistics.heads));
    options.exempt_layers = 0;
    EXPECT_EQ(flat(select_heads(statistics, options, "test")), file.at("mask_single_" + kind).ints());
  }
}

TEST(SelectHeads, BothComparisonsAreStrict) {
  // The published rule: more than 40 of 100. Head 0 wins 40 votes, head 1 wins 41, head 2 equals the threshold always.
  Statistics statistics;
  statistics.layers = 1;
  statistics.heads = 3;
  for (int sample = 0; sample < 100; ++sample) {
    statistics.ids.push_back(std::to_string(sample));
    for (double ratio : {sample < 40 ? 2.0 : 0.0, sample < 41 ? 2.0 : 0.0, 1.0}) statistics.ratio.push_back(ratio);
  }
  HeadOptions options;
  options.threshold = 1.0;
  options.exempt_layers = 0;
  EXPECT_EQ(select_heads(statistics, options, "test"), (HeadMask{{0, 1, 0}}));
  options.exempt_layers.reset();  // the first two layers are always kept
  EXPECT_EQ(select_heads(statistics, options, "test"), (HeadMask{{1, 1, 1}}));
}

TEST(SelectHeads, HighestMeanRatioInEachLayer) {
  EXPECT_EQ(select_heads(eight(), keep(count(2)), "test"), (HeadMask{{0, 1, 1, 0}, {1, 0, 0, 1}}));
  EXPECT_EQ(select_heads(eight(), keep(fraction(0.25)), "test"), (HeadMask{{0, 1, 0, 0}, {1, 0, 0, 0}}));
  EXPECT_EQ(select_heads(eight(), keep(count(1)), "test"), (HeadMask{{0, 1, 0, 0}, {1, 0, 0, 0}}));
  EXPECT_EQ(select_heads(eight(), keep(fraction(1.0)), "test"), (HeadMask{{1, 1, 1, 1}, {1, 1, 1, 1}}));
  EXPECT_EQ(select_heads(eight(), keep(count(0)), "test"), (HeadMask{{0, 0, 0, 0}, {0, 0, 0, 0}}));
}

TEST(SelectHeads, TheMeanIsOverTheSamples) {
  Statistics statistics = same_samples(1, 1, 2, {1.0, 0.5});
  EXPECT_EQ(select_heads(statistics, keep(count(1)), "test"), (HeadMask{{1, 0}}));
  statistics.ids.push_back("second");
  statistics.ratio.insert(statistics.ratio.end(), {0.0, 0.9});
  EXPECT_EQ(select_heads(statistics, keep(count(1)), "test"), (HeadMask{{0, 1}}));
}

TEST(SelectHeads, AcrossTheModel) {
  EXPECT_EQ(select_heads(eight(), keep(fraction(0.5), Scope::Model), "test"), (HeadMask{{0, 0, 0, 0}, {1, 1, 1, 1}}));
  EXPECT_EQ(select_heads(eight(), keep(count(5), Scope::Model), "test"), (HeadMask{{0, 1, 0, 0}, {1, 1, 1, 1}}));
  // Layer 1 holds no visual tokens: half of what is left, and ones past it.
  EXPECT_EQ(select_heads(eight(), keep(fraction(0.5), Scope::Model), "test", 1),
            (HeadMask{{0, 1, 1, 0}, {1, 1, 1, 1}}));
  EXPECT_USER_ERROR((void)select_heads(eight(), keep(count(5), Scope::Model), "test", 1), "above the 4");
}

TEST(SelectHeads, TiesGoToTheLowerLayerThenTheLowerHead) {
  const Statistics statistics = same_samples(2, 2, 3, {1, 1, 1, 1, 1, 1});
  EXPECT_EQ(select_heads(statistics, keep(count(2)), "test"), (HeadMask{{1, 1, 0}, {1, 1, 0}}));
  EXPECT_EQ(select_heads(statistics, keep(count(4), Scope::Model), "test"), (HeadMask{{1, 1, 1}, {1, 0, 0}}));
}

TEST(SelectHeads, ExemptLayersKeepAll) {
  HeadOptions options = keep(count(1));
  options.exempt_layers = 1;
  EXPECT_EQ(select_heads(eight(), options, "test"), (HeadMask{{1, 1, 1, 1}, {1, 0, 0, 0}}));
  options = keep(count(5), Scope::Model);
  options.exempt_layers = 1;
  EXPECT_EQ(select_heads(eight(), options, "test"), (HeadMask{{1, 1, 1, 1}, {1, 0, 0, 0}}));
  options.keep = count(3);
  EXPECT_USER_ERROR((void)select_heads(eight(), options, "test"), "exempt layers alone keep 4");
  options.exempt_layers = 3;
  EXPECT_USER_ERROR((void)select_heads(eight(), options, "test"), "exempt_layers: 3");
}

TEST(SelectUpdates, AmongTheKeptHeadsOnly) {
  const HeadMask within{{1, 0, 1, 0}, {0, 1, 1, 1}};
  EXPECT_EQ(select_updates(eight(), keep(count(1)), within, "test"), (HeadMask{{0, 0, 1, 0}, {0, 0, 0, 1}}));
  // Half of all four heads, not of those within; a layer that has fewer keeps all of them.
  EXPECT_EQ(select_updates(eight(), keep(fraction(0.5)), within, "test"), (HeadMask{{1, 0, 1, 0}, {0, 0, 1, 1}}));
  EXPECT_EQ(select_updates(eight(), keep(count(3)), within, "test"), within);
  EXPECT_EQ(select_updates(eight(), keep(fraction(0.25), Scope::Model), within, "test"),
            (HeadMask{{0, 0, 0, 0}, {0, 0, 1, 1}}));
  EXPECT_EQ(select_updates(eight(), keep(fraction(1.0), Scope::Model), within, "test"), within);
  EXPECT_USER_ERROR((void)select_updates(eight(), keep(count(6), Scope::Model), within, "test"), "above the 5");
  HeadOptions options;
  options.threshold = 0.25;
  options.exempt_layers = 0;
  EXPECT_EQ(select_updates(eight(), options, within, "test"), (HeadMask{{0, 0, 1, 0}, {0, 1, 1, 1}}));
  options.exempt_layers = 1;
  EXPECT_EQ(select_updates(eight(), options, within, "test"), within);
}

TEST(SelectHeads, FromAMaskFile) {
  testing::TemporaryFolder folder;
  const HeadMask mask{{1, 0, 1, 1}, {0, 0, 0, 1}};
  write_npy_bool(folder / "mask.npy", mask);
  HeadOptions options;
  options.mask = folder / "mask.npy";
  EXPECT_EQ(select_heads(eight(), options, "test"), mask);
  EXPECT_USER_ERROR((void)select_updates(eight(), options, {{1, 0, 1, 1}, {0, 0, 1, 0}}, "test"), "layer 1, head 3");
  EXPECT_USER_ERROR((void)read_head_mask(folder / "mask.npy", 4, 2), "[4, 2]");
}

TEST(SelectHeads, FromATorchFile) {
  using testing::rebuilt, testing::storage;
  testing::TemporaryFolder folder;
  const fs::path path = folder / "mask.pth";
  const auto read = [&](const std::string& root, const std::string& data, int64_t layers = 2) {
    testing::write_file(path, testing::torch_file(root, {data}));
    return read_head_mask(path, layers, 3);
  };
  const std::string flags("\1\0\1\0\0\1", 6);
  const HeadMask mask{{1, 0, 1}, {0, 0, 1}};
  const auto view = [&](int64_t offset, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
    return rebuilt(storage("BoolStorage", "0", 6), offset, shape, strides);
  };
  EXPECT_EQ(read(view(0, {2, 3}, {3, 1}), flags), mask);
  EXPECT_EQ(read("](" + view(0, {3}, {1}) + view(3, {3}, {1}) + "e", flags), mask) << "a tensor for each layer";
  EXPECT_EQ(read("](" + view(0, {2, 3}, {3, 1}) + "e", flags), mask) << "a list of the one mask";
  EXPECT_EQ(read("](" + view(3, {3}, {1}) + "e", flags, 1), (HeadMask{{0, 0, 1}})) << "a list of one layer";
  const std::vector<float> values{1, 0, 1, 0, 0, 1}, half{1, 0, 0.5, 0, 0, 1};
  const auto floats = [&](const std::vector<float>& from) {
    const std::string bytes(reinterpret_cast<const char*>(from.data()), 24);
    return read(rebuilt(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1}), bytes);
  };
  EXPECT_EQ(floats(values), mask);
  EXPECT_USER_ERROR(floats(half), "mask.pth: element 2 is 0.5; a mask holds only 0 and 1");
  EXPECT_USER_ERROR(read(view(0, {3, 2}, {2, 1}), flags),
                    "expected a head mask of shape [2, 3] (2 layers, 3 heads), found [3, 2]");
  EXPECT_USER_ERROR(read("](" + view(0, {3}, {1}) + view(3, {2}, {1}) + "e", flags),
                    "element 1: shape [2], but element 0 has [3]");
  EXPECT_USER_ERROR(read("]", flags), "an empty list");
  EXPECT_USER_ERROR(read("}", flags), "expected a tensor or a list of tensors");
  EXPECT_USER_ERROR(read(rebuilt(storage("ByteStorage", "0", 6), 0, {2, 3}, {3, 1}), "\1\1\1\1\2\1"),
                    "layer 1, head 1: expected 0 or 1, found 2");
  testing::write_file(path, "PK");
  EXPECT_USER_ERROR(read_head_mask(path, 2, 3), "not a zip file");
}

TEST(SelectHeads, RefusesWhatCannotBe) {
  EXPECT_USER_ERROR((void)select_heads(eight(), keep(count(5)), "recipe.yaml: plan.heads"), "recipe.yaml: plan.heads");
  EXPECT_USER_ERROR((void)select_heads(eight(), keep(count(5)), "test"), "5 heads are above the 4");
  EXPECT_USER_ERROR((void)select_heads(eight(), keep(fraction(1.5)), "test"), "fraction");
  EXPECT_USER_ERROR((void)select_heads(eight(), keep(fraction(NAN)), "test"), "fraction");
  EXPECT_USER_ERROR((void)select_heads(eight(), HeadOptions{}, "test"), "exactly one");
  HeadOptions both = keep(count(1));
  both.threshold = 1;
  EXPECT_USER_ERROR((void)select_heads(eight(), both, "test"), "exactly one");
  Statistics statistics = eight();
  statistics.ratio[13] = NAN;  // sample 1, layer 1, head 1
  EXPECT_USER_ERROR((void)select_heads(statistics, keep(count(1)), "test"), "sample '1', layer 1, head 1");
  EXPECT_USER_ERROR((void)select_heads(same_samples(0, 2, 4, {}), keep(count(1)), "test"), "no samples");
}

}  // namespace
}  // namespace yopo

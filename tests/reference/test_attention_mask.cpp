// Block masks against the definition: the same masks as tokens x tokens matrices, written down rule by rule.
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "reference/attention_mask.h"

namespace yopo {
namespace {

struct Sequence {
  int64_t padding = 0, past = 0, rows = 0;  // rows: new rows, padding included where past is 0
  std::vector<Span> spans;                  // without padding
};

// Which keys [past + rows] each new row reads, as docs/architecture.md says, for one padded sample.
std::vector<std::vector<bool>> allowed(const Sequence& s, const LayerMask& mask) {
  const int64_t keys = s.past + s.rows;
  std::vector<int> image(size_t(keys), -1);  // which span a position is of
  std::vector<int64_t> row(size_t(keys), 0), column(size_t(keys), 0);
  int64_t visual = 0;
  for (size_t i = 0; i < s.spans.size(); ++i)
    for (int64_t n = 0; n < s.spans[i].count(); ++n, ++visual) {
      const size_t at = size_t(s.padding + s.spans[i].start + n);
      image[at] = int(i);
      row[at] = n / s.spans[i].columns;
      column[at] = n % s.spans[i].columns;
    }
  const int64_t own_rows = s.past == 0 ? s.rows - s.padding : s.rows;
  const bool prefill = visual > 0 && own_rows > visual;

  std::vector<std::vector<bool>> reads(size_t(s.rows), std::vector<bool>(size_t(keys), false));
  for (int64_t t = 0; t < s.rows; ++t) {
    const int64_t p = s.past + t;
    for (int64_t k = 0; k < keys; ++k) {
      if (p < s.padding) {
        reads[size_t(t)][size_t(k)] = k == p;
        continue;
      }
      bool read = k <= p && k >= s.padding;
      const int own = image[size_t(p)], other = image[size_t(k)];
      if (mask.window && prefill && own >= 0 && other >= 0) {
        const int64_t radius = (mask.window->size - 1) / 2;
        if (own == other)
          read = std::abs(row[size_t(p)] - row[size_t(k)]) <= radius &&
                 std::abs(column[size_t(p)] - column[size_t(k)]) <= radius && (!mask.window->causal || k <= p);
        else if (mask.window_isolates)
          read = false;
      }
      if (mask.cut == LayerMask::Cut::TextRows && own < 0 && other >= 0) read = false;
      const int64_t index = s.past == 0 ? t - s.padding : t;
      if (mask.cut == LayerMask::Cut::QwenRows && other >= 0 && (!prefill || index >= visual)) read = false;
      if (mask.self_only != MaskRules::SelfOnly::No && prefill && own >= 0 && other >= 0 && k != p) read = false;
      reads[size_t(t)][size_t(k)] = read;
    }
  }
  return reads;
}

std::vector<LayerMask> all_masks() {
  std::vector<LayerMask> masks;
  for (const int64_t size : {0, 1, 3, 5})
    for (const bool causal : {false, true})
      for (const bool isolates : {false, true})
        for (const auto cut : {LayerMask::Cut::None, LayerMask::Cut::TextRows, LayerMask::Cut::QwenRows})
          for (const auto self :
               {MaskRules::SelfOnly::No, MaskRules::SelfOnly::Intended, MaskRules::SelfOnly::Literal}) {
            LayerMask mask{.window_isolates = isolates, .cut = cut, .self_only = self};
            if (size > 0) mask.window = Window{size, causal};
            masks.push_back(mask);
          }
  return masks;
}

std::vector<Sequence> all_sequences() {
  const std::vector<Span> one{{4, 3, 5}}, two{{3, 4, 3}, {18, 2, 5}}, first{{0, 3, 3}}, touching{{2, 2, 3}, {8, 3, 2}};
  return {
      {0, 0, 9, {}},        {0, 0, 31, one}, {5, 0, 36, one}, {0, 0, 34, two},  {7, 0, 41, two}, {0, 0, 20, first},
      {2, 0, 22, touching}, {0, 31, 1, one}, {5, 36, 1, one}, {0, 0, 9, first},  // no text at all: no prefill
      {3, 34, 1, two},
  };
}

TEST(AttentionMask, EveryRuleAndBlockSizeAgreesWithTheDefinition) {
  int64_t compared = 0, read = 0;
  for (const Sequence& s : all_sequences()) {
    const SampleLayout layout = layout_of(s.spans, s.padding);
    for (const LayerMask& mask : all_masks()) {
      const auto expected = allowed(s, mask);
      for (const int64_t step : {1, 7, 16, 64})
        for (int64_t first = 0; first < s.rows; first += step) {
          RowBlock block{s.past, s.rows, first, std::min(step, s.rows - first), 0};
          block.keys = key_limit({layout}, mask, block);
          ASSERT_LE(block.keys, s.past + s.rows);
          std::vector<uint8_t> blocked(size_t(block.rows * block.keys), 9);
          mark_blocked(layout, mask, block, blocked.data());
          for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t k = 0; k < s.past + s.rows; ++k, ++compared) {
              const bool found = k < block.keys && blocked[size_t(r * block.keys + k)] == 0;
              read += found;
              ASSERT_EQ(found, bool(expected[size_t(first + r)][size_t(k)]))
                  << "row " << first + r << ", key " << k << ", block of " << step << ", window "
                  << (mask.window ? mask.window->size : 0);
            }
        }
    }
  }
  EXPECT_GT(read, compared / 20);
}

TEST(AttentionMask, WindowReachesNeighboursBehindTheBlock) {
  const SampleLayout layout = layout_of({{2, 4, 4}}, 0);
  LayerMask mask;
  mask.window = Window{3, false};
  RowBlock block{0, 24, 2, 1, 0};
  EXPECT_EQ(key_limit({layout}, mask, block), 18);
  mask.window->causal = true;
  EXPECT_EQ(key_limit({layout}, mask, block), 3);
}

TEST(AttentionMask, LiteralSelfOnlyDoublesAllButTheOwnVisualKey) {
  const SampleLayout layout = layout_of({{1, 2, 2}}, 0);
  std::vector<float> factors(size_t(7) * 7, 0.0f);
  literal_factors(layout, {0, 7, 0, 7, 7}, factors.data());
  for (int64_t r = 0; r < 7; ++r)
    for (int64_t k = 0; k < 7; ++k)
      EXPECT_EQ(factors[size_t(r * 7 + k)], r == k && r >= 1 && r < 5 ? 1.0f : 2.0f) << r << ", " << k;
  std::vector<float> decoding(8, 0.0f);
  literal_factors(layout, {7, 1, 0, 1, 8}, decoding.data());
  for (const float factor : decoding) EXPECT_EQ(factor, 1.0f);
}

TEST(AttentionMask, PresetsOfTheSemantics) {
  const MaskRules skip = rules_of(Semantics::Skip), llava = rules_of(Semantics::Llava),
                  qwen = rules_of(Semantics::Qwen2Vl);
  EXPECT_TRUE(skip.heads_before_softmax && skip.zero_visual_queries && skip.freeze_visual && skip.window_isolates);
  EXPECT_EQ(skip.depth, MaskRules::Depth::TextBeforeSoftmax);
  EXPECT_TRUE(!llava.heads_before_softmax && llava.zero_visual_queries && !llava.freeze_visual &&
              !llava.window_isolates);
  EXPECT_EQ(llava.depth, MaskRules::Depth::AllAfterSoftmax);
  EXPECT_TRUE(!qwen.heads_before_softmax && !qwen.zero_visual_queries && !qwen.freeze_visual && !qwen.window_isolates);
  EXPECT_EQ(qwen.depth, MaskRules::Depth::QwenLiteral);
  EXPECT_EQ(qwen.heads_from_layer, 2);
  EXPECT_EQ(skip.heads_from_layer + llava.heads_from_layer, 0);
}

}  // namespace
}  // namespace yopo

// The CUDA backend's prefill and vision attention against plain loops in double precision and the CPU's.
#include <gtest/gtest.h>

#include "core/error.h"
#include "runtime/cuda/kernels.h"
#include "tests/runtime/cuda_attention_cases.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

using yopo::testing::cuda_types;
using yopo::testing::draw;
using yopo::testing::image;
using yopo::testing::Mean;
using yopo::testing::OnDevice;
using yopo::testing::PrefillCase;
using yopo::testing::PrefillProblem;
using yopo::testing::Prompt;
using yopo::testing::text;
using yopo::testing::Visual;
using yopo::testing::within;

class CudaPrefill : public ::testing::TestWithParam<DType> {
 protected:
  void check(PrefillCase c, const std::string& what) {
    c.type = GetParam();
    PrefillProblem problem(c);
    uint64_t expected_pairs = 5, cpu_pairs = 5;
    const auto expected = problem.expected(c.type, &expected_pairs);

    const OnDevice pairs(std::vector<uint64_t>{5});
    const PrefillAttention call = problem.call(true, pairs.as<uint64_t>());
    prefill_attention(call);
    EXPECT_TRUE(within(problem.floats(call.out), expected)) << what;
    EXPECT_EQ(pairs.raw<uint64_t>()[0], expected_pairs) << what;

    if (c.type != DType::F32) return;
    cpu_ops().prefill_attention(problem.call(false, &cpu_pairs));
    EXPECT_TRUE(within(problem.host_out(), expected)) << what << ", on the CPU";
    EXPECT_EQ(cpu_pairs, expected_pairs) << what << ", on the CPU";
  }
};

/// Heads in every state, side by side in groups of two: updated, read only, dropped, and kept where no visual keys are.
PrefillCase mixed_heads() {
  PrefillCase c;
  c.heads = 8, c.kv_heads = 4, c.visual_heads = 3;
  c.kept = {1, 1, 1, 0, 0, 1, 0, 1};
  c.updated = {1, 1, 0, 0, 0, 1, 0, 0};
  return c;
}

TEST_P(CudaPrefill, HeadsStandAnywhere) {
  PrefillCase c = mixed_heads();
  c.spread = true;
  c.prompts = {{text(5), image(3, 4), text(40), image(7, 11), text(3)}, {text(70)}};
  check(c, "no window");
  c.window_radius = 1;
  check(c, "a window");
}

TEST_P(CudaPrefill, HeadsAndWindows) {
  PrefillCase c = mixed_heads();
  c.prompts = {{text(5), image(3, 4), text(2), image(1, 7), image(7, 1), text(9), image(6, 11), text(3)}};
  check(c, "no window");
  for (const int64_t radius : {0, 1, 2})
    for (const bool causal : {false, true}) {
      c.window_radius = radius, c.window_causal = causal;
      check(c, fmt::format("radius {}, causal {}", radius, causal));
    }
}

TEST_P(CudaPrefill, EveryCombinationOfHeads) {
  for (int flags = 0; flags < 9; ++flags) {  // of two heads that share KV: 0 dropped, 1 read only, 2 updated
    const int state[2] = {flags % 3, flags / 3};
    for (const int64_t radius : {-1, 1}) {
      PrefillCase c;
      c.kv_heads = 1, c.visual_heads = flags > 0;
      for (size_t head = 0; head < 2; ++head) c.kept[head] = state[head] > 0, c.updated[head] = state[head] > 1;
      c.window_radius = radius;
      c.prompts = {{text(3), image(4, 5), text(4)}};
      if (flags == 0) c.visual = Visual::Absent;
      check(c, fmt::format("heads in state {} and {}, radius {}", state[0], state[1], radius));
    }
  }
}

TEST_P(CudaPrefill, LengthsAroundTiles) {
  for (const int64_t rows : {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 130}) {
    PrefillCase c;
    c.heads = 2, c.kv_heads = 1, c.visual_heads = 1;
    c.prompts = {{text(rows)}};
    check(c, fmt::format("{} text rows", rows));
    c.prompts = {{image(1, rows), text(1)}, {text(1), image(rows, 1), text(rows)}};
    check(c, fmt::format("{} visual rows", rows));
    c.window_radius = 1;
    check(c, fmt::format("{} visual rows in a window", rows));
    c.window_causal = true;
    check(c, fmt::format("{} visual rows in a causal window", rows));
  }
}

TEST_P(CudaPrefill, LargeGrids) {
  PrefillCase c;
  c.heads = c.kv_heads = c.visual_heads = 1;
  c.kept = c.updated = {1};
  for (const bool causal : {false, true}) {
    c.window_radius = 2, c.window_causal = causal;
    c.prompts = {{text(35), image(24, 24), text(30)}};
    check(c, fmt::format("24 x 24, causal {}", causal));
    c.prompts = {{text(1), image(4, 190), image(150, 1), image(3, 131), text(2)}};  // rows wider than a query tile
    check(c, fmt::format("wide images, causal {}", causal));
    c.window_radius = 500;
    check(c, fmt::format("a window larger than the images, causal {}", causal));
  }
}

TEST_P(CudaPrefill, WithoutVisualRows) {
  PrefillCase c = mixed_heads();
  c.prompts = {{text(5), image(9, 9), text(70)}, {image(2, 2), text(3)}};
  for (const int64_t radius : {-1, 2}) {
    c.window_radius = radius;
    c.updated = {0, 0, 0, 0, 0, 0, 0, 0};
    c.visual = Visual::Read;
    check(c, fmt::format("visual keys that are only read, radius {}", radius));
    c.visual = Visual::Absent;
    check(c, fmt::format("past the visual layers, radius {}", radius));
    c.updated = c.kept;  // no rows to update
    check(c, fmt::format("past the visual layers, flags still set, radius {}", radius));
  }
}

TEST_P(CudaPrefill, TextAfterAPrefixComputedElsewhere) {
  PrefillCase c = mixed_heads();
  c.visual = Visual::Read;
  for (const int64_t before : {1, 5, 63, 64, 130})
    for (const int64_t rows : {1, 14, 70}) {
      c.text_before = before;
      c.prompts = {{image(9, 9), text(rows)}, {image(2, 3), text(2)}};
      check(c, fmt::format("{} keys before {} rows", before, rows));
    }
}

TEST_P(CudaPrefill, ManyRequests) {
  PrefillCase c = mixed_heads();
  const Prompt shapes[] = {
      {text(3), image(5, 6), text(2)}, {text(1)}, {image(2, 3), image(7, 2), text(66)}, {text(2), image(10, 9)}};
  for (const size_t count : {2, 16, 17, 35}) {
    c.prompts.clear();
    for (size_t i = 0; i < count; ++i) c.prompts.push_back(shapes[(i * i + i / 16) % 4]);
    c.window_radius = count % 2 ? 1 : -1;
    check(c, fmt::format("{} requests", count));
  }
  c.prompts.clear();
  check(c, "no requests");
}

TEST_P(CudaPrefill, HeadSizes) {
  for (const int64_t head_dim : {8, 16, 24, 64, 72, 80, 96, 104, 128, 136, 256}) {
    PrefillCase c;
    c.head_dim = head_dim, c.heads = 3, c.kv_heads = 1, c.visual_heads = 1;
    c.kept = {1, 1, 0}, c.updated = {1, 0, 0};
    c.window_radius = head_dim % 16 ? 1 : -1;
    c.prompts = {{text(4), image(5, 14), text(20)}};
    check(c, fmt::format("head_dim {}", head_dim));
  }
}

TEST_P(CudaPrefill, SharpScores) {
  PrefillCase c;
  c.prompts = {{text(70), image(9, 9), text(70)}};
  for (const float sharpness : {8.0f, 100.0f}) {  // exp(score) is past fp32
    // A score is a sum of rounded products: its error, in fp32, grows with it, and fp32's bound is for scores around 1.
    c.sharpness = sharpness;
    if (GetParam() != DType::F32) check(c, fmt::format("sharpness {}", sharpness));
  }
  c.sharpness = 2;
  check(c, "sharpness 2");
}

/// A NaN that a row's tile of keys held would reach the row, even where it is masked: so the work grows as the pairs
/// do.
TEST_P(CudaPrefill, KeysFarAwayAreNotRead) {
  PrefillCase c;
  c.type = GetParam();
  const int64_t width = c.heads * c.head_dim;
  // The first 128 rows of each kind; whatever they may read lies before key 192 (rows of 24) or next to their own
  // columns.
  const auto first_rows = [&](const PrefillCase& of, bool visual) {
    PrefillProblem problem(of);
    const OnDevice pairs(std::vector<uint64_t>{0});
    const PrefillAttention call = problem.call(true, pairs.as<uint64_t>());
    prefill_attention(call);
    const auto out = problem.floats(call.out);
    const auto at = out.begin() + (visual ? problem.visual_at(0) : problem.text_at(0));
    return std::vector<float>(at, at + 128 * width);
  };
  const auto same = [&](const PrefillCase& with, bool visual, const std::string& what) {
    PrefillCase all = with;
    all.text_keys = all.visual_keys = 1 << 30;
    EXPECT_TRUE(yopo::testing::close(first_rows(with, visual), first_rows(all, visual), 0)) << what;
  };
  c.text_keys = 128;
  c.prompts = {{text(200), image(2, 2)}};
  same(c, false, "text");
  c.text_keys = 1 << 30, c.visual_keys = 128;
  c.prompts = {{image(20, 10), text(1)}};
  same(c, true, "visual");
  c.window_radius = 2, c.visual_keys = 192;
  c.prompts = {{image(24, 24), text(1)}};
  same(c, true, "window over short rows");
  c.visual_keys = 260;
  c.prompts = {{image(1, 700), text(1)}};
  same(c, true, "window in one row");
  c.prompts = {{image(300, 1), image(9, 9), text(1)}};
  same(c, true, "window in one column");
}

std::string type_name(const ::testing::TestParamInfo<DType>& info) { return std::string(short_name(info.param)); }
INSTANTIATE_TEST_SUITE_P(Types, CudaPrefill, ::testing::ValuesIn(cuda_types), type_name);

class CudaFull : public ::testing::TestWithParam<DType> {
 protected:
  void check(int64_t groups, int64_t rows, int64_t heads, int64_t head_dim) {
    const DType type = GetParam();
    const int64_t width = heads * head_dim;
    const auto q = draw(random_, groups * rows * width, type), k = draw(random_, groups * rows * width, type);
    auto v = draw(random_, groups * rows * width, type);
    const OnDevice on_q(q, type), on_k(k, type), on_v(v, type), pairs(std::vector<uint64_t>{5});
    const OnDevice out(std::vector<float>(q.size() + 64, 9.0f), type);
    FullAttention call;
    call.type = type, call.groups = groups, call.rows = rows, call.heads = heads, call.head_dim = head_dim;
    call.q = on_q.data(), call.k = on_k.data(), call.v = on_v.data(), call.out = out.data(),
    call.pairs = pairs.as<uint64_t>();
    full_attention(call);

    std::vector<Mean> expected(q.size() + 64, {9.0, 0});
    std::vector<const float*> keys(static_cast<size_t>(rows));
    std::vector<double> column(static_cast<size_t>(rows));
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t row = 0; row < rows; ++row) {
          const int64_t base = group * rows * width + head * head_dim, at = base + row * width;
          for (int64_t i = 0; i < rows; ++i) keys[size_t(i)] = k.data() + base + i * width;
          const auto weights = yopo::testing::softmax_weights(q.data() + at, keys, head_dim);
          for (int64_t d = 0; d < head_dim; ++d) {
            for (int64_t i = 0; i < rows; ++i) column[size_t(i)] = v[size_t(base + i * width + d)];
            expected[size_t(at + d)] = yopo::testing::weighted_mean(type, weights, column);
          }
        }
    const auto what = fmt::format("{} groups of {} rows, {} heads of {}", groups, rows, heads, head_dim);
    EXPECT_TRUE(within(out.floats(), expected)) << what;
    EXPECT_EQ(pairs.raw<uint64_t>()[0], uint64_t(5 + groups * heads * rows * rows)) << what;
  }
  std::mt19937 random_{23};
};

TEST_P(CudaFull, Lengths) {
  for (const int64_t rows : {1, 15, 16, 17, 31, 33, 63, 64, 65, 130}) check(2, rows, 2, 16);
  check(1, 577, 1, 64);
}
TEST_P(CudaFull, HeadSizes) {
  for (const int64_t head_dim : {8, 24, 64, 72, 80, 96, 128, 136, 256}) check(1, 70, 2, head_dim);
}
TEST_P(CudaFull, Groups) {
  check(5, 9, 3, 16);
  check(0, 9, 3, 16);
  check(3, 0, 3, 16);
}
INSTANTIATE_TEST_SUITE_P(Types, CudaFull, ::testing::ValuesIn(cuda_types), type_name);

TEST(CudaAttention, OwnMistakesAreCaught) {
  const OnDevice data(std::vector<float>(1024)), pairs(std::vector<uint64_t>{0});
  FullAttention full;
  full.groups = full.rows = full.heads = 1, full.head_dim = 12;
  full.q = full.k = full.v = full.out = data.data(), full.pairs = pairs.as<uint64_t>();
  EXPECT_THROW(full_attention(full), InternalError) << "head_dim";
  full.head_dim = 264;
  EXPECT_THROW(full_attention(full), InternalError) << "head_dim";
  full.head_dim = 16, full.k = data.as<char>() + 4;
  EXPECT_THROW(full_attention(full), InternalError) << "unaligned";
  full.k = data.data(), full.type = DType::F64;
  EXPECT_THROW(full_attention(full), InternalError) << "type";

  PrefillRequest request;
  request.text_rows = 1;
  request.text = {data.as<char>() + 8, data.data(), 1, 1, 1};
  PrefillAttention prefill;
  prefill.heads = prefill.kv_heads = 1, prefill.head_dim = 16;
  prefill.q_places.stride = prefill.out_places.stride = 16;
  prefill.q = prefill.out = data.data(), prefill.pairs = pairs.as<uint64_t>(), prefill.requests = {&request, 1};
  EXPECT_THROW(prefill_attention(prefill), InternalError) << "unaligned";
  request.text.keys = data.data();
  prefill.heads = 3, prefill.kv_heads = 2;
  EXPECT_THROW(prefill_attention(prefill), InternalError) << "groups";
}

}  // namespace
}  // namespace yopo::runtime::YOPO_CUDA_SPACE

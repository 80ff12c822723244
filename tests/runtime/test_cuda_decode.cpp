// The CUDA backend's decode attention against the CPU's. Whatever must not be read is NaN: rows past those in use, and
// visual rows of KV heads that no kept head reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <random>

#include "core/error.h"
#include "runtime/cuda/kernels.h"
#include "tests/runtime/cuda_arrays.h"
#include "tests/runtime/head_rows.h"
#include "tests/support/close.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

using yopo::testing::cuda_types;
using yopo::testing::OnDevice;
using yopo::testing::rounded_once;

struct Lengths {
  int32_t text = 0;  // rows before the step
  int64_t text_room = 1, visual = 0, visual_room = 0, visual_heads = 0;
};
enum class Kept { All, None, Some };

/// What is averaged are numbers around 1, and so are its rounding errors; an average of many is far smaller.
::testing::AssertionResult averaged(const std::vector<float>& actual, const std::vector<float>& expected, DType type,
                                    double relative = 1e-6) {
  return rounded_once(actual, expected, type, relative, 1);
}

/// The requests of a step, twice: on the device in `type`, and the same numbers in fp32 on the host.
class Step {
 public:
  Step(DType type, int64_t heads, int64_t kv_heads, int64_t head_dim, const std::vector<Lengths>& lengths, Kept keep,
       float q_scale = 1, bool spread = false)
      : spread_(spread),
        places_(heads, head_dim),
        kept_(static_cast<size_t>(heads), keep == Kept::All),
        q_(yopo::testing::draw(random_, int64_t(lengths.size()) * heads * head_dim, type, q_scale)),
        on_q_(spread ? places_.spread(q_, NAN) : q_, type),
        on_out_(std::vector<float>(spread ? lengths.size() * size_t(places_.stride) : q_.size(), 9.0f), type),
        on_column_(places_.column),
        on_pairs_(std::vector<uint64_t>{5}) {
    if (keep == Kept::Some)
      for (uint8_t& flag : kept_) flag = random_() % 2;
    const int64_t group = heads / kv_heads;
    for (const Lengths& length : lengths) {
      counts_.push_back(length.text);
      DecodeRequest request;
      request.text = {nullptr, nullptr, kv_heads, length.text_room, 0};
      request.visual = {nullptr, nullptr, length.visual_heads, length.visual_room, length.visual};
      host_.push_back(request);
      for (const bool visual : {false, true})
        for (int part = 0; part < 2; ++part) {  // keys, values
          const KvSegment& segment = visual ? request.visual : request.text;
          auto rows = yopo::testing::draw(random_, segment.heads * segment.stride * head_dim, type);
          for (int64_t head = 0; head < segment.heads; ++head) {
            const auto flags = kept_.begin() + head * group;
            const bool read = !visual || std::any_of(flags, flags + group, [](uint8_t flag) { return flag != 0; });
            const int64_t used = !read ? 0 : visual ? length.visual : length.text + 1;
            std::fill(rows.begin() + (head * segment.stride + used) * head_dim,
                      rows.begin() + (head + 1) * segment.stride * head_dim, NAN);
          }
          memory_.push_back(std::move(rows));
          on_memory_.emplace_back(memory_.back(), type);
        }
    }
    device_ = host_;
    for (size_t i = 0; i < host_.size(); ++i) {
      host_[i].text.keys = memory_[4 * i].data(), host_[i].text.values = memory_[4 * i + 1].data();
      host_[i].visual.keys = memory_[4 * i + 2].data(), host_[i].visual.values = memory_[4 * i + 3].data();
      device_[i].text.keys = on_memory_[4 * i].data(), device_[i].text.values = on_memory_[4 * i + 1].data();
      device_[i].visual.keys = on_memory_[4 * i + 2].data(), device_[i].visual.values = on_memory_[4 * i + 3].data();
    }
    on_kept_ = std::make_unique<OnDevice>(kept_);
    on_counts_ = std::make_unique<OnDevice>(counts_);
    work_.type = type, work_.heads = heads, work_.kv_heads = kv_heads, work_.head_dim = head_dim;
    work_.q_places.stride = work_.out_places.stride = heads * head_dim;
  }

  /// The call is the same whatever the counts, which lie on the device alone: so a step is replayed.
  void run_on_device(const std::vector<int32_t>& counts) {
    on_counts_->set(counts);
    on_pairs_.set(std::vector<uint64_t>{5});
    DecodeAttention work = work_;
    if (spread_) work.q_places = work.out_places = {places_.stride, on_column_.as<int32_t>()};
    work.q = on_q_.data(), work.out = on_out_.data(), work.kept = on_kept_->as<uint8_t>();
    work.counts = on_counts_->as<int32_t>(), work.requests = device_, work.pairs = on_pairs_.as<uint64_t>();
    decode_attention(work);
  }
  void run(const std::vector<int32_t>& counts) {
    run_on_device(counts);
    expected.assign(q_.size(), 0);
    expected_pairs = 5;
    DecodeAttention work = work_;
    work.type = DType::F32;
    work.q = q_.data(), work.out = expected.data(), work.kept = kept_.data();
    work.counts = counts.data(), work.requests = host_, work.pairs = &expected_pairs;
    cpu_ops().decode_attention(work);
  }
  void run() { run(counts_); }
  std::vector<float> out() const {
    const std::vector<float> rows = on_out_.floats();
    if (!spread_) return rows;
    if (!places_.untouched(rows, 9)) throw std::logic_error("written between the heads");
    return places_.gathered(rows);
  }
  uint64_t pairs() const { return on_pairs_.raw<uint64_t>()[0]; }

  std::vector<float> expected;  // [requests, heads * head_dim]
  uint64_t expected_pairs = 0;

 private:
  std::mt19937 random_{11};
  bool spread_;
  yopo::testing::HeadRows places_;
  std::vector<uint8_t> kept_;
  std::vector<float> q_;
  OnDevice on_q_, on_out_, on_column_, on_pairs_;
  std::unique_ptr<OnDevice> on_kept_, on_counts_;
  std::vector<int32_t> counts_;
  std::vector<std::vector<float>> memory_;  // per request text keys, values, visual keys, values
  std::vector<OnDevice> on_memory_;
  std::vector<DecodeRequest> host_, device_;
  DecodeAttention work_;
};

class CudaDecode : public ::testing::TestWithParam<DType> {
 protected:
  void check(int64_t heads, int64_t kv_heads, int64_t head_dim, const std::vector<Lengths>& lengths, Kept keep) {
    Step step(GetParam(), heads, kv_heads, head_dim, lengths, keep);
    step.run();
    EXPECT_TRUE(averaged(step.out(), step.expected, GetParam()))
        << heads << " heads over " << kv_heads << ", dim " << head_dim << ", " << lengths.size() << " requests";
    EXPECT_EQ(step.pairs(), step.expected_pairs);
  }
};

TEST_P(CudaDecode, GroupsAndDroppedHeads) {
  struct Heads {
    int64_t heads, kv_heads;
  };
  for (const auto [heads, kv_heads] :
       {Heads{1, 1}, {4, 4}, {4, 2}, {6, 2}, {8, 2}, {5, 1}, {12, 2}, {14, 2}, {8, 1}, {9, 1}, {40, 2}})
    for (const Kept keep : {Kept::All, Kept::None, Kept::Some}) {
      check(heads, kv_heads, 16, {{20, 64, 37, 40, kv_heads}}, keep);               // splits of both kinds
      check(heads, kv_heads, 16, {{3, 8, 5, 9, kv_heads}, {0, 9, 0, 0, 0}}, keep);  // one split
      check(heads, kv_heads, 16, {{70, 90, 200, 200, (kv_heads + 1) / 2}}, keep);   // visual keys in a prefix
    }
}

TEST_P(CudaDecode, HeadSizes) {
  for (const int64_t head_dim : {8, 16, 24, 64, 72, 80, 96, 128, 136, 256}) {
    check(4, 2, head_dim, {{150, 151, 90, 90, 2}}, Kept::Some);
    check(2, 2, head_dim, {{0, 1, 1, 1, 2}}, Kept::All);
    check(8, 1, head_dim, {{9, 30, 20, 20, 1}}, Kept::Some);
  }
}

TEST_P(CudaDecode, Lengths) {
  for (const int32_t text : {0, 1, 31, 62, 63, 64, 127, 128, 500})
    for (const int64_t visual : {0, 1, 64, 577})
      check(2, 1, 32, {{text, text + 1, visual, visual, visual > 0}, {text / 2, text + 40, visual / 3, visual, 1}},
            Kept::Some);
}

TEST_P(CudaDecode, MoreRequestsThanALaunchTakes) {
  for (const int requests : {32, 33, 70}) {
    std::vector<Lengths> lengths, short_lengths;
    for (int i = 0; i < requests; ++i) {
      lengths.push_back({i * 7 % 90, 91 + i % 3, i % 4 == 1 ? 0 : i, 70, 1 + i % 2});
      short_lengths.push_back({i % 20, 20, i % 9, 9, 2});
    }
    check(4, 2, 24, lengths, Kept::Some);
    check(4, 2, 24, short_lengths, Kept::Some);
  }
}

TEST_P(CudaDecode, CountsAreTheDevicesOwn) {
  // Rows up to 700 are in memory; the same call reads as many as the device's counts say.
  Step step(GetParam(), 4, 2, 32, {{700, 701, 50, 50, 2}, {400, 701, 10, 10, 1}}, Kept::Some);
  for (const std::vector<int32_t>& counts : {std::vector<int32_t>{0, 1}, {64, 300}, {700, 400}, {13, 0}}) {
    step.run(counts);
    EXPECT_TRUE(averaged(step.out(), step.expected, GetParam())) << counts[0];
    EXPECT_EQ(step.pairs(), step.expected_pairs);
  }
}

TEST_P(CudaDecode, NeverReadsPastTheRoom) {
  Step step(GetParam(), 1, 1, 16, {{9, 10, 0, 0, 0}}, Kept::All);
  step.run();
  const auto full = step.out();
  EXPECT_TRUE(averaged(full, step.expected, GetParam()));
  step.run_on_device({1000});
  EXPECT_EQ(step.out(), full);
}

TEST_P(CudaDecode, LargeScoresStayFinite) {
  Step step(GetParam(), 2, 1, 64, {{600, 601, 300, 300, 1}}, Kept::All, 60);  // scores in the hundreds
  step.run();
  EXPECT_TRUE(averaged(step.out(), step.expected, GetParam(), 3e-4)) << "fp32 holds scores of hundreds to 3e-5";
}

TEST_P(CudaDecode, SameInputSameBytes) {
  Step step(GetParam(), 12, 2, 80, {{600, 700, 300, 300, 2}, {20, 700, 300, 300, 1}}, Kept::Some);
  step.run();
  const auto first = step.out();
  for (int again = 0; again < 3; ++again) {
    step.run();
    EXPECT_EQ(step.out(), first);
  }
}

TEST_P(CudaDecode, HeadsStandAnywhere) {
  for (const int64_t text : {3, 900}) {  // in one split, and in several
    const Lengths length{int32_t(text), text + 5, 40, 45, 3};
    Step step(GetParam(), 6, 3, 16, {length, length}, Kept::Some, 1, true);
    step.run();
    EXPECT_TRUE(averaged(step.out(), step.expected, GetParam())) << text;
    EXPECT_EQ(step.pairs(), step.expected_pairs);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaDecode, ::testing::ValuesIn(cuda_types),
                         [](const auto& info) { return std::string(short_name(info.param)); });

TEST(CudaDecodes, OwnMistakesAreCaught) {
  const auto refuse = [](DType type, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t shift = 0) {
    alignas(16) std::byte keys[16] = {};
    DecodeRequest request;
    request.text = {keys + shift, nullptr, kv_heads, 4, 0};
    DecodeAttention work;
    work.type = type, work.heads = heads, work.kv_heads = kv_heads, work.head_dim = head_dim;
    work.requests = {&request, 1};
    EXPECT_THROW(decode_attention(work), InternalError);
  };
  refuse(DType::F32, 3, 2, 8);
  refuse(DType::F32, 2, 2, 12);
  refuse(DType::F32, 2, 2, 264);
  refuse(DType::I32, 2, 2, 8);
  refuse(DType::F32, 2, 2, 8, 4);
}

}  // namespace
}  // namespace yopo::runtime::YOPO_CUDA_SPACE

// Token dropping in both forwards, of a LLaVA and a Qwen2-VL model: rows taken out against keys masked away.
#include "evaluation/dropping.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "reference/engine.h"
#include "tests/support/close.h"
#include "tests/support/reference_case.h"

namespace yopo {
namespace {

using testing::close;

struct Both {
  OpenModel model;
  ModelInput input;
  runtime::Engine runtime;
  TorchEngine torch;
  explicit Both(const std::string& test)
      : model(open_model(testing::fixtures() / test.substr(0, test.find('/')) / "model")),
        input(read_input(model.spec, testing::fixtures() / test / "inputs.safetensors")),
        runtime(model, dense_plan(model.spec.text), {.dtype = "fp32"}),
        torch(model, {.dtype = "fp32"}) {}
};

const std::vector<std::string> cases{"llava_hf/cases/single", "qwen2vl/cases/two_images", "qwen3_vl/cases/two_images"};

TEST(Dropping, BothForwardsAgree) {
  for (const std::string& test : cases) {
    Both both(test);
    const Plan plan = dense_plan(both.model.spec.text);
    TraceOptions options;
    options.hidden = false, options.decode = {3, 14};
    const Trace whole = both.torch.trace(both.input, plan, options);
    for (const int64_t from : {0, 1, 2}) {
      SCOPED_TRACE(fmt::format("{} from layer {}", test, from));
      std::vector<ModelInput> inputs{both.input};
      drop_tokens(both.runtime, {Dropping::By::Random, 0.4, from, 7}, {"a"}, inputs);
      const Trace masked = both.torch.trace(inputs[0], plan, options);
      const Trace skipped = both.runtime.trace(inputs[0], options);
      EXPECT_EQ(skipped.logits.size(), masked.logits.size());
      EXPECT_TRUE(close(skipped.logits, masked.logits, 2e-4));
      EXPECT_TRUE(close(skipped.decode_logits, masked.decode_logits, 2e-4));
      EXPECT_FALSE(close(masked.decode_logits, whole.decode_logits, 2e-4)) << "nothing was dropped";
    }
  }
}

TEST(Dropping, BothForwardsReadAlike) {
  for (const std::string& test : cases) {
    SCOPED_TRACE(test);
    Both both(test);
    TraceOptions options;
    options.hidden = false, options.attention = true;
    const Trace trace = both.torch.trace(both.input, dense_plan(both.model.spec.text), options);
    const int64_t length = trace.length, layer = 1;
    std::vector<float> expected;
    for (const Span& span : both.input.spans)
      for (int64_t token = span.start; token < span.start + span.count(); ++token) {
        double sum = 0;
        for (int64_t head = 0; head < trace.heads; ++head)
          sum += trace.attention[size_t(((layer * trace.heads + head) * length + length - 1) * length + token)];
        expected.push_back(float(sum / double(trace.heads)));
      }
    EXPECT_TRUE(close(both.runtime.last_row_attention({both.input}, layer).front(), expected, 1e-5));
    if (!both.model.spec.vision.class_token) {
      EXPECT_THROW((void)both.runtime.class_attention({both.input}), UserError);
      continue;
    }
    ASSERT_EQ(int64_t(trace.vision_attention.size()), both.input.visual_tokens());
    EXPECT_TRUE(close(both.runtime.class_attention({both.input}).front(), trace.vision_attention, 1e-5));
  }
}

TEST(Dropping, KeepsWhatItSays) {
  Both both(cases[0]);
  const int64_t visual = both.input.visual_tokens();
  const auto kept = [&](const Dropping& dropping, const std::string& key) {
    std::vector<ModelInput> inputs{both.input};
    drop_tokens(both.runtime, dropping, {key}, inputs);
    return inputs[0].kept->rows;
  };
  for (const auto by : {Dropping::By::Random, Dropping::By::Grid, Dropping::By::Attention, Dropping::By::Class}) {
    const Dropping dropping{by, 0.5, 1, 3};
    const std::vector<int64_t> rows = kept(dropping, "a");
    EXPECT_EQ(int64_t(rows.size()), visual / 2);
    EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end()));
    EXPECT_EQ(rows, kept(dropping, "a"));
  }
  EXPECT_NE(kept({Dropping::By::Random, 0.5, 0, 3}, "a"), kept({Dropping::By::Random, 0.5, 0, 4}, "a"));
  EXPECT_NE(kept({Dropping::By::Random, 0.5, 0, 3}, "a"), kept({Dropping::By::Random, 0.5, 0, 3}, "b"));
  const std::vector<float> attention = both.runtime.last_row_attention({both.input}, 0).front();
  const std::vector<int64_t> rows = kept({Dropping::By::Attention, 1.001 / double(visual), 1}, "a");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(attention[size_t(rows[0])], *std::max_element(attention.begin(), attention.end()));
}

TEST(Dropping, TheMaskingForwardRefusesHostileLists) {
  Both both(cases[0]);
  const Plan plan = dense_plan(both.model.spec.text);
  for (const KeptRows& kept : {KeptRows{0, {both.input.visual_tokens()}}, KeptRows{0, {2, 1}}, KeptRows{99, {}}}) {
    both.input.kept = kept;
    EXPECT_THROW((void)both.torch.trace(both.input, plan, {.hidden = false}), UserError);
  }
}

}  // namespace
}  // namespace yopo

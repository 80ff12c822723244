// Several plans in one export: reordered once, each gives what its own export gives.
#include <gtest/gtest.h>

#include "core/error.h"
#include "exporters/export.h"
#include "plans/pruned_config.h"
#include "runtime/engine.h"
#include "tests/exporters/export_support.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

/// Nested sets out of a scattered order; updates by an order of their own.
Plan nested_plan(const DecoderSpec& spec, int64_t heads, int64_t updates, int64_t neurons, float added) {
  Plan plan = dense_plan(spec);
  for (LayerPlan& layer : plan.layers) {
    layer.heads.assign(layer.heads.size(), 0), layer.updates = layer.heads;
    const int64_t count = spec.num_attention_heads;
    for (int64_t i = 0; i < heads; ++i) layer.heads[size_t((3 + count - i) % count)] = 1;
    for (int64_t head = 0; head < count; ++head)
      if (layer.heads[size_t(head)] && updates-- > 0) layer.updates[size_t(head)] = 1;
    updates = 1;
    layer.neurons.emplace();
    for (int64_t i = 0; i < neurons; ++i) layer.neurons->push_back((7 + i * 5) % spec.intermediate_size);
    std::sort(layer.neurons->begin(), layer.neurons->end());
    layer.neurons->erase(std::unique(layer.neurons->begin(), layer.neurons->end()), layer.neurons->end());
    Compensation compensation;
    compensation.bias.assign(size_t(spec.hidden_size), added);
    layer.compensation = std::make_shared<const Compensation>(std::move(compensation));
  }
  return plan;
}

TEST(Elastic, EachPlanGivesWhatItsOwnExportGives) {
  testing::TemporaryFolder folder;
  const OpenModel model = open_model(testing::fixtures / "llava_hf" / "model");
  const DecoderSpec& spec = model.spec.text;
  const std::vector<BudgetPlan> plans{{"0.25", nested_plan(spec, 2, 1, 3, 0.02f)},
                                      {"0.5", nested_plan(spec, 3, 2, 5, 0.01f)}};
  export_elastic(model, plans, "0.5", folder / "elastic", {});
  const OpenModel elastic = open_model(folder / "elastic");
  EXPECT_EQ(budgets_of_checkpoint(elastic.checkpoint).names, (std::vector<std::string>{"0.5", "0.25"}));
  ModelInput input;  // 3 text rows, a picture of 3 x 4, 5 text rows
  input.spans = {{3, 3, 4}};
  std::mt19937 random(7);
  for (int64_t row = 0; row < 20; ++row) {
    input.position_ids.push_back(row);
    for (int64_t i = 0; i < spec.hidden_size; ++i) input.embeds.push_back(float(random() % 2001) / 1000 - 1);
  }
  std::vector<std::vector<float>> logits;
  for (const BudgetPlan& one : plans) {
    export_checkpoint(model, one.plan, folder / one.budget, {});
    const OpenModel single = open_model(folder / one.budget);
    const Plan own = plan_of_checkpoint(single.checkpoint, spec).value();
    const Plan shared = plan_of_checkpoint(elastic.checkpoint, spec, one.budget).value();
    const runtime::Engine expected(single, own, {.dtype = "fp32"}),
        actual(elastic, shared, {.dtype = "fp32", .pack = false});
    EXPECT_LT(actual.weight_bytes_owned(), 64 * 1024) << "the weights are used where they are";
    logits.push_back(actual.trace(input, {}).logits);
    EXPECT_TRUE(testing::close_relative(logits.back(), expected.trace(input, {}).logits, 1e-5)) << one.budget;
  }
  EXPECT_FALSE(testing::close_relative(logits[0], logits[1], 1e-4)) << "two plans, not one";
  // Again: nothing to do. Another default: another export.
  const auto before = testing::contents(folder / "elastic");
  export_elastic(model, {plans[1], plans[0]}, "0.5", folder / "elastic", {});
  EXPECT_EQ(testing::contents(folder / "elastic"), before);
  EXPECT_USER_ERROR(export_elastic(model, plans, "0.25", folder / "elastic", {}), "export of other inputs");
  EXPECT_USER_ERROR(export_elastic(model, plans, "0.3", folder / "x", {}), "no plan for budget 0.3");
  EXPECT_USER_ERROR(export_elastic(model, {plans[0], plans[0]}, "0.25", folder / "x", {}), "two plans");
}

}  // namespace
}  // namespace yopo

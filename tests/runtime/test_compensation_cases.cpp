// Compensation in the runtime against the reference decoder's numbers, in every type and as weights are packed.
#include <gtest/gtest.h>

#include "core/error.h"
#include "plans/cost.h"
#include "tests/runtime/row_norm_bound.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/compensation_case.h"

namespace yopo {
namespace {

using runtime::Engine;

class CompensationCases : public ::testing::TestWithParam<testing::CompensationCase> {
 protected:
  CompensationCases() : model(testing::open_case_model(GetParam().of)), plan(testing::plan_of(GetParam())) {
    options.decode = GetParam().decode();
  }
  OpenModel model;
  Plan plan;
  TraceOptions options;
};

TEST_P(CompensationCases, Fp32GivesTheCasesNumbersAndNoMutants) {
  const ModelInput input = GetParam().input();
  for (const bool pack : {true, false}) {
    runtime::Options run = testing::on_device();
    run.pack = pack;
    const Engine engine(model, plan, run);
    testing::expect_case(GetParam(), engine.trace(input, options));
    const PromptShape shape{input.length(), input.spans};
    EXPECT_EQ(engine.counters().prefill, prefill_cost(plan, model.spec.text, shape, shape.length));
    EXPECT_EQ(engine.counters().kv_bytes, kv_bytes(plan, model.spec.text, shape, int64_t(options.decode.size()), 4));
  }
}

// A layer's compensation is a third branch.
TEST_P(CompensationCases, SixteenBitsWithinRowNormBound) {
  for (const auto& [dtype, unit] : {std::pair{"bf16", 0x1p-9}, {"fp16", 0x1p-12}}) {
    SCOPED_TRACE(dtype);
    if (!testing::tested_ops().supports(dtype_from_name(dtype), nullptr)) {
      EXPECT_THROW(Engine(model, plan, testing::on_device(dtype)), UserError);
      continue;
    }
    const Engine engine(model, plan, testing::on_device(dtype));
    testing::expect_within_row_norm_bound(engine.trace(GetParam().input(), options),
                                          GetParam().expected().at("hidden").floats(),
                                          3 * model.spec.text.num_hidden_layers, 0, unit);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CompensationCases, ::testing::ValuesIn(testing::compensation_cases()),
                         [](const auto& info) { return info.param.text(); });

}  // namespace
}  // namespace yopo

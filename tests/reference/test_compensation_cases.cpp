// Compensation in the Torch forward against the reference decoder's numbers.
#include <gtest/gtest.h>

#include "tests/reference/fixture.h"
#include "tests/support/compensation_case.h"

namespace yopo {
namespace {

class TorchCompensation : public ::testing::TestWithParam<testing::CompensationCase> {};

TEST_P(TorchCompensation, GivesTheCasesNumbersAndNoMutants) {
  const testing::LoadedModel& loaded = testing::loaded_model(GetParam().of);
  const Plan plan = testing::plan_of(GetParam());
  check_plan(plan, loaded.model.spec.text, GetParam().text());
  TraceOptions options;
  options.decode = GetParam().decode();
  testing::expect_case(GetParam(), loaded.engine.trace(GetParam().input(), plan, options));
}

INSTANTIATE_TEST_SUITE_P(All, TorchCompensation, ::testing::ValuesIn(testing::compensation_cases()),
                         [](const auto& info) { return info.param.text(); });

}  // namespace
}  // namespace yopo
